// SPDX-License-Identifier: Apache-2.0

package vm

// guestTag is the build tag of tests that only guests can run, as they need
// devices that few machines' kernels have.
const guestTag = "guest"

// worldsGroup runs what is traced in worlds of devices that many kernels lack.
func worldsGroup() Group {
	return Group{
		Name: "worlds", Package: "tracer", Tests: []string{
			"TestNetemDelay", "TestNetemLoss", "TestNetemDuplicate", "TestTaggedPort", "TestTaggedBridgeDevice", "TestTaggedContainer",
			"TestIPvlan", "TestDummy", "TestDropRulesLegacy", "TestDropRulesNFT",
		},
		Programs: []string{"bridge", "iptables-legacy", "iptables-legacy-restore"},
		What:     "worlds of netem, VLAN-filtering bridges, ipvlan and dummy devices, rules by nft and by iptables-legacy: hops, drops, each packet counted once",
	}
}

// agreementGroup holds journeys with functions against another tracer's record of the same packets.
func agreementGroup() Group {
	return Group{
		Name: "agreement", Package: "tracer", Tests: []string{"TestAgreesWithBpftrace"}, Programs: []string{"bpftrace"},
		What: "functions inside hops are those that bpftrace sees of the same packets, in the same order",
	}
}
