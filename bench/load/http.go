// SPDX-License-Identifier: Apache-2.0

package load

import (
	"errors"
	"fmt"
	"strings"
)

// connections is how many are kept alive, each with a request in flight.
const connections = 64

// What goes over a kept-alive connection: a page as long as a web server's
// welcome. Its ends do nothing but send it, so that the packets' way is most
// of the time: a real server's requests cost more, and tracing adds a smaller share.
const httpRequest = "GET /index.html HTTP/1.1\r\nHost: vethtrace.example\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n"

func httpResponse() []byte {
	const body = 612
	return fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nServer: bench\r\nContent-Type: text/html\r\nContent-Length: %d\r\nConnection: keep-alive\r\n\r\n%s",
		body, strings.Repeat("x", body))
}

// httpClient keeps a request in flight on each of its connections.
type httpClient struct {
	sockets []int
	got     []int // of the response that is awaited
	ready   *epoll
	request []byte
	length  int // of a response
	buffer  []byte
}

func newHTTPClient(sockets []int) (*httpClient, error) {
	ready, err := newEpoll(sockets)
	if err != nil {
		return nil, fmt.Errorf("wait for %d connections: %w", len(sockets), err)
	}
	return &httpClient{
		sockets: sockets, got: make([]int, len(sockets)), ready: ready,
		request: []byte(httpRequest), length: len(httpResponse()), buffer: make([]byte, 4096),
	}, nil
}

func (c *httpClient) begin() error {
	for _, socket := range c.sockets {
		if err := write(socket, c.request); err != nil {
			return fmt.Errorf("send a request: %w", err)
		}
	}
	return nil
}

func (c *httpClient) step() (uint64, error) { return c.receive(true) }

// finish waits for the answers still to come, so that the connections are idle.
func (c *httpClient) finish() error {
	for waiting := uint64(len(c.sockets)); waiting > 0; {
		n, err := c.receive(false)
		if err != nil {
			return err
		}
		waiting -= n
	}
	return nil
}

// errSilent says that no connection was answered in time.
var errSilent = errors.New("no answer to any request")

// receive takes what has come, sends the next request where a response is
// complete if more are wanted, and returns how many were.
func (c *httpClient) receive(more bool) (done uint64, err error) {
	events, err := c.ready.wait(int(answerTimeout.Milliseconds()))
	if err != nil {
		return 0, fmt.Errorf("wait for answers: %w", err)
	}
	if len(events) == 0 {
		return 0, errSilent
	}
	for _, event := range events {
		n, err := read(c.sockets[event.Fd], c.buffer)
		if err != nil {
			return 0, fmt.Errorf("read an answer: %w", err)
		}
		if c.got[event.Fd] += n; c.got[event.Fd] < c.length {
			continue
		}
		c.got[event.Fd] = 0
		done++
		if !more {
			continue
		}
		if err := write(c.sockets[event.Fd], c.request); err != nil {
			return 0, fmt.Errorf("send a request: %w", err)
		}
	}
	return done, nil
}

// serveHTTP answers each request, for ever.
func serveHTTP(sockets []int) error {
	ready, err := newEpoll(sockets)
	if err != nil {
		return err
	}
	response, buffer, got := httpResponse(), make([]byte, 4096), make([]int, len(sockets))
	for {
		events, err := ready.wait(-1)
		if err != nil {
			return err
		}
		for _, event := range events {
			n, err := read(sockets[event.Fd], buffer)
			if err != nil {
				return err
			}
			if got[event.Fd] += n; got[event.Fd] < len(httpRequest) {
				continue
			}
			got[event.Fd] = 0 // the next one is not sent before this one is answered
			if err := write(sockets[event.Fd], response); err != nil {
				return err
			}
		}
	}
}
