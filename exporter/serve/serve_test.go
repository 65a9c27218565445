package serve

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/crypto/bcrypt"
)

// patience is for what a busy machine is slow at; only a fault takes as long.
const patience = 30 * time.Second

// free is a port of loopback that nobody listens on.
func free(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// start serves until the test ends; the function it returns ends it before.
func start(t *testing.T, cfg Config) (stop func() error) {
	t.Helper()
	if cfg.Metrics == nil {
		cfg.Metrics = promhttp.HandlerFor(prometheus.NewRegistry(), promhttp.HandlerOpts{})
	}
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		conn, err := net.Dial("tcp", cfg.Addresses[0])
		if err == nil {
			conn.Close()
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	stop = func() error {
		cancel()
		select {
		case err := <-ended:
			ended <- nil
			return err
		case <-time.After(patience):
			return errors.New("does not end")
		}
	}
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
	return stop
}

func get(t *testing.T, client *http.Client, url string) (int, string) {
	t.Helper()
	response, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(body)
}

func TestPages(t *testing.T) {
	registry := prometheus.NewRegistry()
	registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "vethtrace_test"}, func() float64 { return 42 }))
	var ready atomic.Bool
	address := free(t)
	start(t, Config{
		Addresses: []string{address}, Metrics: promhttp.HandlerFor(registry, promhttp.HandlerOpts{}), Ready: ready.Load, Version: "1.2.3",
		Journeys: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "journeys") }),
	})
	for _, c := range []struct {
		path   string
		status int
		want   string
	}{
		{"/metrics", 200, "vethtrace_test 42"},
		{"/-/healthy", 200, "healthy"},
		{"/-/ready", 503, "not attached"},
		{"/journeys", 200, "journeys"},
		{"/", 200, "1.2.3"},
		{"/nothing", 404, ""},
	} {
		if status, body := get(t, http.DefaultClient, "http://"+address+c.path); status != c.status || !strings.Contains(body, c.want) {
			t.Errorf("%s: %d %q", c.path, status, body)
		}
	}
	ready.Store(true)
	if status, _ := get(t, http.DefaultClient, "http://"+address+"/-/ready"); status != 200 {
		t.Errorf("ready: %d", status)
	}
}

func TestPublicAddressesNeedLeave(t *testing.T) {
	for address, public := range map[string]bool{
		"127.0.0.1:1": false, "localhost:1": false, "[::1]:1": false, "127.9.9.9:1": false, "[::ffff:127.0.0.1]:1": false,
		"0.0.0.0:1": true, ":1": true, "[::]:1": true, "192.0.2.1:1": true, "example.com:1": true,
	} {
		_, err := New(Config{Addresses: []string{address}, Metrics: http.NotFoundHandler()})
		var refused *PublicError
		if errors.As(err, &refused) != public {
			t.Errorf("%s: %v", address, err)
		}
		if _, err := New(Config{Addresses: []string{address}, Insecure: true, Metrics: http.NotFoundHandler()}); err != nil {
			t.Errorf("%s, insecure: %v", address, err)
		}
	}
}

// A file that asks nobody who they are is no leave to let others in.
func TestAnEmptyConfigurationIsNoLeave(t *testing.T) {
	full, _ := secured(t)
	empty := filepath.Join(t.TempDir(), "web.yml")
	for _, text := range []string{"", "# users: later\n", "basic_auth_users: {}\n", "http_server_config: {http2: false}\n"} {
		if err := os.WriteFile(empty, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := New(Config{Addresses: []string{":1"}, ConfigFile: empty, Metrics: http.NotFoundHandler()})
		var refused *PublicError
		if !errors.As(err, &refused) {
			t.Errorf("%q: %v", text, err)
		}
		if _, err := New(Config{ConfigFile: empty, Metrics: http.NotFoundHandler()}); err != nil {
			t.Errorf("%q, for this machine: %v", text, err)
		}
	}
	if _, err := New(Config{Addresses: []string{":1"}, ConfigFile: full, Metrics: http.NotFoundHandler()}); err != nil {
		t.Errorf("with TLS and users: %v", err)
	}
}

// Clients that do not read hold so many answers, and no more.
func TestSoManyAnswersAtATime(t *testing.T) {
	const most = 3
	asked, hold := make(chan struct{}, most), make(chan struct{})
	server := httptest.NewServer(atMost(most, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked <- struct{}{}
		<-hold
		fmt.Fprint(w, "metrics")
	})))
	defer server.Close()
	var wait sync.WaitGroup
	for range most {
		wait.Go(func() {
			response, err := http.Get(server.URL)
			if err != nil {
				t.Error(err)
				return
			}
			response.Body.Close()
			if response.StatusCode != http.StatusOK {
				t.Errorf("within the limit: %d", response.StatusCode)
			}
		})
	}
	for range most {
		<-asked
	}
	if status, body := get(t, http.DefaultClient, server.URL); status != http.StatusServiceUnavailable || !strings.Contains(body, "3 answers are under way") {
		t.Errorf("beyond it: %d %s", status, body)
	}
	close(hold)
	wait.Wait()
	if status, _ := get(t, http.DefaultClient, server.URL); status != http.StatusOK {
		t.Errorf("afterwards: %d", status)
	}
}

func TestWrongInputIsRefused(t *testing.T) {
	for name, cfg := range map[string]Config{
		"no port":      {Addresses: []string{"127.0.0.1"}},
		"port too big": {Addresses: []string{"127.0.0.1:99999"}},
		"no such port": {Addresses: []string{"127.0.0.1:nothing-is-called-so"}},
		"path taken":   {TelemetryPath: "/-/ready"},
		"no path":      {TelemetryPath: "metrics"},
		"a pattern":    {TelemetryPath: "/{name}"},
		"half of one":  {TelemetryPath: "/metrics/{name"},
		"a space":      {TelemetryPath: "/my metrics"},
		"not clean":    {TelemetryPath: "/a/../metrics"},
		"a directory":  {TelemetryPath: "/metrics/"},
		"missing file": {ConfigFile: filepath.Join(t.TempDir(), "none.yml")},
	} {
		cfg.Metrics = promhttp.HandlerFor(prometheus.NewRegistry(), promhttp.HandlerOpts{})
		if _, err := New(cfg); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := New(Config{TelemetryPath: "/hosts/web-1.example/metrics", Metrics: http.NotFoundHandler()}); err != nil {
		t.Error(err)
	}
}

func TestAddressInUseIsAnError(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s, err := New(Config{Addresses: []string{l.Addr().String()}, Metrics: http.NotFoundHandler()})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "address already in use") {
		t.Errorf("error %v", err)
	}
}

func TestHungClientDoesNotKeepTheServer(t *testing.T) {
	address := free(t)
	hold, asked := make(chan struct{}), make(chan struct{})
	stop := start(t, Config{
		Addresses: []string{address},
		Journeys:  http.HandlerFunc(func(http.ResponseWriter, *http.Request) { close(asked); <-hold }),
	})
	defer close(hold)
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "GET /journeys HTTP/1.1\r\nHost: x\r\n\r\n")
	<-asked
	if err := stop(); err != nil { // or it does not end: the client holds on
		t.Error(err)
	}
}

// secured writes a configuration with TLS and one user.
func secured(t *testing.T) (file, password string) {
	t.Helper()
	dir := t.TempDir()
	certificate(t, filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"))
	password = "correct horse"
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(dir, "web.yml")
	text := fmt.Sprintf("tls_server_config:\n  cert_file: %s\n  key_file: %s\nbasic_auth_users:\n  prometheus: %s\n",
		filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"), hash)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file, password
}

func TestTLSAndUsersRefuseWhatTheyShould(t *testing.T) {
	file, password := secured(t)
	address := free(t)
	start(t, Config{Addresses: []string{address}, ConfigFile: file})
	client := &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, // the certificate is the test's own
	}}
	ask := func(user, password string) int {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+address+"/metrics", nil)
		if err != nil {
			t.Fatal(err)
		}
		if user != "" {
			request.SetBasicAuth(user, password)
		}
		response, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		return response.StatusCode
	}
	for _, c := range []struct {
		user, password string
		want           int
	}{{"", "", 401}, {"prometheus", "wrong", 401}, {"other", password, 401}, {"prometheus", password, 200}} {
		if got := ask(c.user, c.password); got != c.want {
			t.Errorf("%q %q: %d, want %d", c.user, c.password, got, c.want)
		}
	}
	if response, err := http.Get("http://" + address + "/metrics"); err == nil {
		response.Body.Close()
		if response.StatusCode == http.StatusOK {
			t.Error("plain HTTP is answered")
		}
	}
}
