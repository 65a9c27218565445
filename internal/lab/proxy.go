// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"
)

// proxyIdle is when a UDP peer that says nothing is forgotten, as in docker-proxy.
const proxyIdle = 90 * time.Second

// proxySpec is what a userland proxy copies: from where it listens to where it connects.
type proxySpec struct {
	Proto string         `json:"proto"`
	From  netip.AddrPort `json:"from"`
	To    netip.AddrPort `json:"to"`
}

// network keeps the two families apart, as docker-proxy does: each has a listener of its own.
func (p *proxySpec) network() string {
	if p.From.Addr().Is4() {
		return p.Proto + "4"
	}
	return p.Proto + "6"
}

func (p *proxySpec) start() error {
	if p.Proto == "udp" {
		front, err := net.ListenUDP(p.network(), net.UDPAddrFromAddrPort(p.From))
		if err != nil {
			return fmt.Errorf("listen on %s: %w", p.From, err)
		}
		u := &udpProxy{front: front, to: p.To, peers: make(map[netip.AddrPort]*net.UDPConn)}
		go dieOf("proxy UDP", u.serve)
		return nil
	}
	l, err := net.ListenTCP(p.network(), net.TCPAddrFromAddrPort(p.From))
	if err != nil {
		return fmt.Errorf("listen on %s: %w", p.From, err)
	}
	go dieOf("proxy TCP", func() error { return p.serveTCP(l) })
	return nil
}

func (p *proxySpec) serveTCP(l *net.TCPListener) error {
	for {
		front, err := l.AcceptTCP()
		if err != nil {
			return fmt.Errorf("accept: %w", err)
		}
		go func() {
			defer front.Close()
			back, err := net.DialTCP("tcp", nil, net.TCPAddrFromAddrPort(p.To))
			if err != nil {
				return // the client sees its connection closed, as with docker-proxy
			}
			defer back.Close()
			var both sync.WaitGroup
			both.Go(func() { copyAndClose(back, front) })
			both.Go(func() { copyAndClose(front, back) })
			both.Wait()
		}()
	}
}

// udpProxy gives each peer a socket of its own towards the container, so that answers find back.
type udpProxy struct {
	front *net.UDPConn
	to    netip.AddrPort
	mu    sync.Mutex
	peers map[netip.AddrPort]*net.UDPConn
}

func (u *udpProxy) serve() error {
	buf := make([]byte, 64<<10)
	for {
		n, peer, err := u.front.ReadFromUDPAddrPort(buf)
		if err != nil {
			return fmt.Errorf("receive: %w", err)
		}
		back, err := u.back(peer)
		if err != nil {
			continue // no way to the container now: the datagram is lost
		}
		_, _ = back.Write(buf[:n]) // refused: the peer learns nothing, as with docker-proxy
	}
}

// back returns the socket of a peer, a new one if need be.
func (u *udpProxy) back(peer netip.AddrPort) (*net.UDPConn, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if conn, ok := u.peers[peer]; ok {
		return conn, nil
	}
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(u.to))
	if err != nil {
		return nil, err
	}
	u.peers[peer] = conn
	go u.answer(peer, conn)
	return conn, nil
}

func (u *udpProxy) answer(peer netip.AddrPort, conn *net.UDPConn) {
	defer func() {
		u.mu.Lock()
		delete(u.peers, peer)
		u.mu.Unlock()
		conn.Close()
	}()
	buf := make([]byte, 64<<10)
	for {
		if conn.SetReadDeadline(time.Now().Add(proxyIdle)) != nil {
			return
		}
		n, err := conn.Read(buf)
		if err != nil {
			return
		}
		if _, err := u.front.WriteToUDPAddrPort(buf[:n], peer); err != nil {
			return
		}
	}
}
