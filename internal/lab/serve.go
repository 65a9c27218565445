// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// pageSize is that of the page nginx greets with.
const pageSize = 612

// serveSpec are the ports of a child that serves, on every address of its namespace.
type serveSpec struct {
	HTTP uint16 `json:"http"` // answers each request with a page of pageSize bytes
	Echo uint16 `json:"echo"` // TCP and UDP: sends back what comes
}

func (s *serveSpec) start() error {
	web, err := net.Listen("tcp", fmt.Sprintf(":%d", s.HTTP))
	if err != nil {
		return fmt.Errorf("listen for HTTP: %w", err)
	}
	echo, err := net.Listen("tcp", fmt.Sprintf(":%d", s.Echo))
	if err != nil {
		return fmt.Errorf("listen for TCP echo: %w", err)
	}
	udp, err := listenUDP(s.Echo)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: page(), ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute}
	go dieOf("serve HTTP", func() error { return server.Serve(web) })
	go dieOf("serve TCP echo", func() error { return serveEcho(echo) })
	go dieOf("serve UDP echo", func() error { return echoUDP(udp) })
	return nil
}

// dieOf ends the process when one of its servers ends: half a server would make a test hang.
func dieOf(doing string, fn func() error) {
	err := fn()
	fmt.Fprintf(os.Stderr, "%s: %v\n", doing, err)
	os.Exit(1)
}

// page answers "/whoami" with the peer's and the own address, everything else with the same page.
func page() http.Handler {
	body := []byte("<!DOCTYPE html>\n<html><body><h1>Welcome to the lab!</h1><p>")
	end := []byte("</p></body></html>\n")
	body = append(body, bytes.Repeat([]byte("x"), pageSize-len(body)-len(end))...)
	body = append(body, end...)
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = w.Write(body) // the client is gone; it knows
	})
	mux.HandleFunc("/whoami", func(w http.ResponseWriter, r *http.Request) {
		own, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
		fmt.Fprintf(w, "%s -> %s\n", strings.TrimPrefix(r.RemoteAddr, "::ffff:"), own)
	})
	return mux
}

// serveEcho gives each connection a goroutine. Go sets TCP_NODELAY on what it accepts.
func serveEcho(l net.Listener) error {
	for {
		conn, err := l.Accept()
		if err != nil {
			return fmt.Errorf("accept: %w", err)
		}
		go func() {
			defer conn.Close()
			buf := make([]byte, 64<<10)
			for {
				n, err := conn.Read(buf)
				if n > 0 {
					if _, err := conn.Write(buf[:n]); err != nil {
						return
					}
				}
				if err != nil {
					return
				}
			}
		}()
	}
}

// listenUDP opens a blocking socket for both families: a thread in recvmsg answers sooner, and with
// less spread, than one woken through the runtime's poller.
func listenUDP(port uint16) (int, error) {
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		err = errors.Join(
			unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 0),
			unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1),
			unix.Bind(fd, &unix.SockaddrInet6{Port: int(port)}),
		)
	}
	if err != nil {
		return -1, fmt.Errorf("listen for UDP echo on %d: %w", port, err)
	}
	return fd, nil
}

// echoUDP answers from the address that was asked, which on a host with several is not the one that
// routing would choose.
func echoUDP(fd int) error {
	buf, oob := make([]byte, 64<<10), make([]byte, unix.CmsgSpace(unix.SizeofInet6Pktinfo))
	device := unix.CmsgLen(0) + 16 // where the index stands, behind the address
	for {
		n, oobn, _, from, err := unix.Recvmsg(fd, buf, oob, 0)
		if errors.Is(err, unix.EINTR) || errors.Is(err, unix.ECONNREFUSED) {
			continue // interrupted, or an ICMP error about an answer whose asker is gone
		}
		if err != nil {
			return fmt.Errorf("receive: %w", err)
		}
		if oobn == len(oob) {
			clear(oob[device : device+4]) // but through whatever device routing chooses
		}
		_ = unix.Sendmsg(fd, buf[:n], oob[:oobn], from, 0) // a lost answer is what UDP is about
	}
}

// copyAndClose copies until the end and passes the end on.
func copyAndClose(dst, src *net.TCPConn) {
	_, _ = io.Copy(dst, src) // whatever ended it, both sides are closed
	_ = dst.CloseWrite()
	_ = src.CloseRead()
}
