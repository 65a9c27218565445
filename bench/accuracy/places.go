// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"math"

	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/vethtrace/vethtrace/bench/accuracy/matrix"
	"github.com/vethtrace/vethtrace/internal/lab"
	"github.com/vethtrace/vethtrace/internal/netns"
)

// behindAll is the highest priority that a netfilter link may have. An injector
// that holds it before the tracer comes makes that step aside by one, and then
// runs behind it.
const behindAll = math.MaxInt32 - 1

// priorities of a chain's functions in the kernel (enum nf_ip_hook_priorities);
// an injector goes right before them.
const (
	defragPriority    = -400
	conntrackPriority = -200
	dnatPriority      = -100
	filterPriority    = 0
	snatPriority      = 100
)

// behindPlace is the place that has to be taken before the tracer comes.
const behindPlace = "prerouting, behind"

// inject attaches an injector, switched off, at a place for packets of one family.
func (w *world) inject(place, family string) (*lab.Injector, error) {
	host, container := w.lab.Host, w.lab.Container(containerName)
	const ingress, egress = lab.Ingress, lab.Egress
	devices := map[string]struct {
		node      *lab.Node
		device    string
		direction lab.Direction
		before    bool
	}{
		matrix.Outside:           {w.lab.Client, w.lab.Client.Dev, egress, true},
		"uplink ingress":         {host, host.Dev, ingress, false},
		"uplink egress, before":  {host, host.Dev, egress, true},
		"uplink egress":          {host, host.Dev, egress, false},
		"bridge egress, before":  {host, container.Bridge, egress, true},
		"bridge egress":          {host, container.Bridge, egress, false},
		"bridge ingress":         {host, container.Bridge, ingress, false},
		"port egress":            {host, container.HostDev, egress, false},
		"port ingress, before":   {host, container.HostDev, ingress, true},
		"port ingress":           {host, container.HostDev, ingress, false},
		"device ingress, before": {container.Node, container.Dev, ingress, true},
		"device ingress":         {container.Node, container.Dev, ingress, false},
		"device egress":          {container.Node, container.Dev, egress, false},
	}
	if d, ok := devices[place]; ok {
		return w.lab.InjectTCX(d.node, d.device, d.direction, d.before)
	}
	const (
		pre, in, forward = link.NetfilterInetPreRouting, link.NetfilterInetLocalIn, link.NetfilterInetForward
		out, post        = link.NetfilterInetLocalOut, link.NetfilterInetPostRouting
	)
	hooks := map[string]struct {
		ns       *netns.NS
		hook     link.NetfilterInetHook
		priority int32
	}{
		"prerouting defrag":    {host.NS, pre, defragPriority - 1},
		"prerouting conntrack": {host.NS, pre, conntrackPriority - 1},
		"prerouting nat":       {host.NS, pre, dnatPriority - 1},
		behindPlace:            {host.NS, pre, behindAll},
		"forward":              {host.NS, forward, filterPriority - 1},
		"postrouting nat":      {host.NS, post, snatPriority - 1},
		"input nat":            {host.NS, in, snatPriority - 1},
		"output defrag":        {host.NS, out, defragPriority - 1},
		"output conntrack":     {host.NS, out, conntrackPriority - 1},
		"output nat":           {host.NS, out, dnatPriority - 1},
		"target prerouting":    {container.NS, pre, filterPriority},
		"target input":         {container.NS, in, filterPriority},
		"target output":        {container.NS, out, filterPriority},
		"target postrouting":   {container.NS, post, filterPriority},
	}
	h, ok := hooks[place]
	if !ok {
		return nil, fmt.Errorf("inject: nobody knows the place %q", place)
	}
	number := link.NetfilterProtocolFamily(unix.NFPROTO_IPV4)
	if family == "ipv6" {
		number = unix.NFPROTO_IPV6
	}
	return w.lab.InjectNetfilter(h.ns, number, h.hook, h.priority)
}

func protocolNumber(protocol string) uint8 {
	if protocol == "tcp" {
		return unix.IPPROTO_TCP
	}
	return unix.IPPROTO_UDP
}
