// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync/atomic"
	"testing"
)

// asked sends each request to one server, wherever it is for.
type asked struct{ host string }

func (a asked) RoundTrip(r *http.Request) (*http.Response, error) {
	r.URL.Host = a.host
	return http.DefaultTransport.RoundTrip(r)
}

func TestCollectedWaitsForTwoCollections(t *testing.T) {
	var scrapes atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		fmt.Fprintf(w, "# TYPE go_memstats_last_gc_time_seconds gauge\ngo_memstats_last_gc_time_seconds %d\n", 1000+scrapes.Add(1)/5)
	}))
	defer server.Close()
	at, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	p := &probe{client: &http.Client{Transport: asked{at.Host}}}
	if err := p.collected(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := scrapes.Load(); n != 10 { // 1000 up to the fourth, 1001 from the fifth, 1002 from the tenth on
		t.Errorf("ended at scrape %d", n)
	}
}
