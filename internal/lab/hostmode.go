// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"fmt"
	"net/netip"
	"strconv"
)

// HostMode is a process of the host's own network: a container with --net=host.
type HostMode struct {
	Name string
	PID  int
	HTTP uint16 // a page of 612 bytes
	Echo uint16 // TCP and UDP

	proc *child
}

// StartHostMode starts servers in the host's namespace: HTTP on port, echo on port+1. They live
// until Stop or the world's Close.
func (w *World) StartHostMode(ctx context.Context, port uint16) (*HostMode, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	h := &HostMode{Name: "host-mode", HTTP: port, Echo: port + 1}
	proc, err := spawn(ctx, w.thread, w.Host.NS, []string{"vethtrace-lab", h.Name},
		orders{Comm: h.Name, Serve: &serveSpec{HTTP: h.HTTP, Echo: h.Echo}})
	if err != nil {
		return nil, err
	}
	w.procs = append(w.procs, proc)
	h.proc, h.PID = proc, proc.pid
	return h, nil
}

// Stop kills the process. A second Stop does nothing.
func (h *HostMode) Stop() { h.proc.kill() }

// Proxy is one docker-proxy.
type Proxy struct {
	PID  int
	Port Port

	proc *child
}

// Stop kills the process. A second Stop does nothing.
func (p *Proxy) Stop() { p.proc.kill() }

// StartProxy starts, for each published port, the userland proxies that Docker starts: one for
// 0.0.0.0 and one for ::, both to the container's IPv4 address (or, in a world with IPv6, the
// second to its IPv6 one). They answer what no DNAT rule catches, such as 127.0.0.1 of the host.
func (w *World) StartProxy(ctx context.Context) ([]*Proxy, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var all []*Proxy
	for _, c := range w.Containers {
		for _, port := range c.Ports {
			for _, host := range []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()} {
				to := c.IP4
				if host.Is6() && c.IP6.IsValid() {
					to = c.IP6
				}
				p, err := w.startProxy(ctx, port, host, to)
				if err != nil {
					return all, err
				}
				all = append(all, p)
			}
		}
	}
	return all, nil
}

func (w *World) startProxy(ctx context.Context, port Port, host, to netip.Addr) (*Proxy, error) {
	argv := []string{
		"docker-proxy", "-proto", port.Proto,
		"-host-ip", host.String(), "-host-port", strconv.Itoa(int(port.Host)),
		"-container-ip", to.String(), "-container-port", strconv.Itoa(int(port.Container)),
	}
	proc, err := spawn(ctx, w.thread, w.Host.NS, argv, orders{Comm: "docker-proxy", Proxy: &proxySpec{
		Proto: port.Proto,
		From:  netip.AddrPortFrom(host, port.Host), To: netip.AddrPortFrom(to, port.Container),
	}})
	if err != nil {
		return nil, fmt.Errorf("proxy %d/%s: %w", port.Host, port.Proto, err)
	}
	w.procs = append(w.procs, proc)
	return &Proxy{PID: proc.pid, Port: port, proc: proc}, nil
}
