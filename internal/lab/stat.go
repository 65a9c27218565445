// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Stat reads one of the counters of the node's own IP stack by the kernel's name, such as "TcpExt/TCPOFOQueue",
// "Tcp/OutRsts" or "Ip/ReasmOKs" (/proc/net/netstat and /proc/net/snmp); IPv6's as "Ip6/ReasmOKs" (/proc/net/snmp6).
func (n *Node) Stat(name string) (uint64, error) {
	table, field, _ := strings.Cut(name, "/")
	var all []string
	err := n.NS.Do(func() error {
		for _, file := range []string{"netstat", "snmp", "snmp6"} {
			raw, err := os.ReadFile("/proc/thread-self/net/" + file)
			if err != nil {
				return err
			}
			all = append(all, strings.Split(string(raw), "\n")...)
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("read counters of %s: %w", n.Name, err)
	}
	for i, line := range all {
		words := strings.Fields(line)
		if len(words) == 2 && words[0] == table+field {
			return strconv.ParseUint(words[1], 10, 64)
		}
		if len(words) < 2 || words[0] != table+":" || i+1 >= len(all) {
			continue
		}
		values := strings.Fields(all[i+1])
		for j, word := range words {
			if word == field && j < len(values) {
				return strconv.ParseUint(values[j], 10, 64)
			}
		}
	}
	return 0, fmt.Errorf("read counters of %s: there is no %s", n.Name, name)
}
