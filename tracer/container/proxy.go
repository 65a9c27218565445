// SPDX-License-Identifier: Apache-2.0

package container

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// proxyName is the program that Docker starts for each published port.
const proxyName = "docker-proxy"

// Proxy is a docker-proxy process: it answers a published port where DNAT does
// not (from localhost, over IPv6 without ip6tables).
type Proxy struct {
	PID           int
	Protocol      string // tcp, udp, sctp
	HostIP        netip.Addr
	HostPort      uint16
	ContainerIP   netip.Addr
	ContainerPort uint16
}

// Proxies returns the docker-proxy processes of a network namespace, by process
// id. Those whose arguments can't be understood are left out.
func Proxies(netnsInode uint64) ([]Proxy, error) {
	pids, err := processes()
	if err != nil {
		return nil, err
	}
	var found []Proxy
	for _, pid := range pids {
		if st, err := readStat(pid); err != nil || st.comm != proxyName {
			continue
		}
		if in, err := nsInode(fmt.Sprintf("/proc/%d/ns/net", pid)); err != nil || in != netnsInode {
			continue
		}
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if err != nil {
			continue // ended
		}
		if p, ok := parseProxy(b); ok {
			p.PID = pid
			found = append(found, p)
		}
	}
	return found, nil
}

// parseProxy reads a command line of /proc: arguments that end with a zero byte
// and may be empty or contain blanks. Both "-proto tcp" and "--proto=tcp" are
// Go's flags.
func parseProxy(cmdline []byte) (Proxy, bool) {
	args := strings.Split(strings.TrimSuffix(string(cmdline), "\x00"), "\x00")
	if filepath.Base(args[0]) != proxyName {
		return Proxy{}, false
	}
	values := map[string]string{}
	for i := 1; i < len(args); i++ {
		if !strings.HasPrefix(args[i], "-") {
			break // Go's flags end at the first word that is none
		}
		name := strings.TrimPrefix(strings.TrimPrefix(args[i], "-"), "-")
		if name, value, ok := strings.Cut(name, "="); ok {
			values[name] = value
			continue
		}
		if name == "use-listen-fd" { // the only one without a value
			continue
		}
		if i++; i < len(args) {
			values[name] = args[i]
		}
	}
	return proxyOf(values)
}

func proxyOf(values map[string]string) (Proxy, bool) {
	p := Proxy{Protocol: values["proto"]}
	if p.Protocol == "" {
		p.Protocol = "tcp"
	}
	var err error
	if host := values["host-ip"]; host == "" {
		p.HostIP = netip.IPv4Unspecified()
	} else if p.HostIP, err = netip.ParseAddr(host); err != nil {
		return Proxy{}, false
	}
	if p.ContainerIP, err = netip.ParseAddr(values["container-ip"]); err != nil {
		return Proxy{}, false
	}
	var hostOK, containerOK bool
	p.HostPort, hostOK = parsePort(values["host-port"])
	p.ContainerPort, containerOK = parsePort(values["container-port"])
	return p, hostOK && containerOK
}

func parsePort(s string) (uint16, bool) {
	n, err := strconv.ParseUint(s, 10, 16)
	return uint16(n), err == nil && n != 0
}
