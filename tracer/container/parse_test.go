// SPDX-License-Identifier: Apache-2.0

package container

import (
	"net/netip"
	"os"
	"reflect"
	"strings"
	"testing"
)

func TestParseProxy(t *testing.T) {
	full := Proxy{
		Protocol: "tcp", HostIP: netip.MustParseAddr("0.0.0.0"), HostPort: 8080,
		ContainerIP: netip.MustParseAddr("172.17.0.2"), ContainerPort: 80,
	}
	udp := full
	udp.Protocol, udp.HostIP = "udp", netip.MustParseAddr("fe80::1%eth0")
	tests := []struct {
		name string
		args []string
		want *Proxy
	}{
		{"as Docker starts it", []string{"/usr/bin/docker-proxy", "-proto", "tcp", "-host-ip", "0.0.0.0", "-host-port", "8080", "-container-ip", "172.17.0.2", "-container-port", "80"}, &full},
		{"with equals signs", []string{"docker-proxy", "--proto=tcp", "--host-ip=0.0.0.0", "--host-port=8080", "-container-ip=172.17.0.2", "-container-port=80"}, &full},
		{"a flag without value", []string{"docker-proxy", "-use-listen-fd", "-proto", "tcp", "-host-ip", "0.0.0.0", "-host-port", "8080", "-container-ip", "172.17.0.2", "-container-port", "80"}, &full},
		{"empty values", []string{"docker-proxy", "-proto", "", "-host-ip", "", "-host-port", "8080", "-container-ip", "172.17.0.2", "-container-port", "80"}, &full},
		{"blanks in the path, a zone", []string{"/opt/my docker/docker-proxy", "-proto", "udp", "-host-ip", "fe80::1%eth0", "-host-port", "8080", "-container-ip", "172.17.0.2", "-container-port", "80"}, &udp},
		{"another program", []string{"/usr/bin/docker-proxy-like", "-host-port", "8080"}, nil},
		{"no container", []string{"docker-proxy", "-proto", "tcp", "-host-ip", "0.0.0.0", "-host-port", "8080"}, nil},
		{"port out of range", []string{"docker-proxy", "-host-port", "80800", "-container-ip", "172.17.0.2", "-container-port", "80"}, nil},
		{"value missing", []string{"docker-proxy", "-host-port", "80", "-container-ip", "172.17.0.2", "-container-port"}, nil},
		{"nothing", []string{""}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, ok := parseProxy([]byte(strings.Join(tt.args, "\x00") + "\x00"))
			if ok != (tt.want != nil) || ok && got != *tt.want {
				t.Errorf("%+v, %v; want %+v", got, ok, tt.want)
			}
		})
	}
}

func TestParseCgroups(t *testing.T) {
	b, err := os.ReadFile("testdata/cgroup-v1.txt")
	if err != nil {
		t.Fatal(err)
	}
	paths := parseCgroups(b)
	const docker = "/docker/87eed538fbb74b83d0c53816b69bb4ee519213ca0666ae3f845ccc79e5cb8489"
	for _, controller := range []string{"", "name=systemd", "memory", "pids", "cpu"} {
		if paths[controller] != docker {
			t.Errorf("%q: %q", controller, paths[controller])
		}
	}
	got := parseCgroups([]byte("4:cpu,cpuacct:/a:b\n0::/system.slice/docker-1.scope\nrubbish\n"))
	want := map[string]string{"cpu": "/a:b", "cpuacct": "/a:b", "": "/system.slice/docker-1.scope"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestInCgroup(t *testing.T) {
	of := map[string]string{"memory": "/docker/abc", "cpu": "/docker/abc", "": "/"}
	tests := []struct {
		name  string
		paths map[string]string
		want  bool
	}{
		{"the same", map[string]string{"memory": "/docker/abc", "cpu": "/docker/abc", "": "/"}, true},
		{"beneath", map[string]string{"memory": "/docker/abc/child", "cpu": "/docker/abc"}, true},
		{"a longer id", map[string]string{"memory": "/docker/abcd", "cpu": "/docker/abcd"}, false},
		{"one controller elsewhere", map[string]string{"memory": "/docker/abc", "cpu": "/"}, false},
		{"only roots in common", map[string]string{"": "/"}, false},
		{"nothing in common", map[string]string{"pids": "/docker/abc"}, false},
	}
	for _, tt := range tests {
		if got := inCgroup(tt.paths, of); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
	if hasOwnCgroup(map[string]string{"cpu": "/", "": ""}) || !hasOwnCgroup(of) {
		t.Error("hasOwnCgroup is wrong")
	}
}

func TestParseStat(t *testing.T) {
	tail := " S 17 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 987654 1000 2 18446744073709551615"
	got, err := parseStat([]byte("42 (a) b (c)" + tail))
	if want := (stat{comm: "a) b (c", state: 'S', ppid: 17, startTicks: 987654}); err != nil || got != want {
		t.Errorf("%+v, %v", got, err)
	}
	for _, bad := range []string{"", "42 sleep S 1", "42 )(", "42 (x) S 1 2", "42 (x) S a" + strings.Repeat(" 1", 30)} {
		if _, err := parseStat([]byte(bad)); err == nil {
			t.Errorf("%q gives no error", bad)
		}
	}
}

const tcpTable = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 12345 1 0000000000000000 100 0 0 10 0
   1: 0200A8C0:0050 0300A8C0:C350 01 00000000:00000000 00:00000000 00000000     0        0 12346 1 0000000000000000 20 4 30 10 -1
`

func TestParseListeners(t *testing.T) {
	got, err := parseListeners(strings.NewReader(tcpTable), "tcp")
	want := []Listener{{Protocol: "tcp", Addr: netip.MustParseAddr("127.0.0.1"), Port: 8080, Inode: 12345}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v, %v", got, err)
	}
	// A UDP table is in no order of states.
	udp := strings.NewReader(" 7: 00000000000000000000000001000000:0035 0:0 01 0 0 0 0 0 1\n" +
		" 8: 00000000000000000000000001000000:0035 0:0 07 0 0 0 0 0 2\n")
	got, err = parseListeners(udp, "udp")
	want = []Listener{{Protocol: "udp", Addr: netip.MustParseAddr("::1"), Port: 53, Inode: 2}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v, %v", got, err)
	}
	for _, bad := range []string{"x:0035", "0100007F", "0100007F:zz", "01:0035"} {
		if _, err := parseListeners(strings.NewReader("0: "+bad+" 0:0 0A 0 0 0 0 0 1\n"), "tcp"); err == nil {
			t.Errorf("%q gives no error", bad)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("docker-proxy\x00-proto\x00tcp\x00-host-port\x0080\x00-container-ip\x00::1\x00-container-port\x0080\x00"))
	f.Add([]byte(tcpTable))
	f.Add([]byte("42 (a) S 1 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 987654 1000 2"))
	f.Add([]byte("4:cpu,cpuacct:/docker/abc\n0::/\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if p, ok := parseProxy(b); ok && (p.HostPort == 0 || p.ContainerPort == 0 || !p.ContainerIP.IsValid() || !p.HostIP.IsValid()) {
			t.Errorf("accepted %+v", p)
		}
		for _, protocol := range []string{"tcp", "udp"} {
			found, err := parseListeners(strings.NewReader(string(b)), protocol)
			for _, l := range found {
				if err == nil && (!l.Addr.IsValid() || l.Port == 0) {
					t.Errorf("accepted %+v", l)
				}
			}
		}
		if s, err := parseStat(b); err == nil && s.state == 0 {
			t.Errorf("accepted %+v", s)
		}
		paths := parseCgroups(b)
		if inCgroup(paths, paths) != hasOwnCgroup(paths) {
			t.Errorf("a process is not in its own cgroups: %v", paths)
		}
		near(string(b[:min(len(b), 50)]), []string{"nginx", "web"})
	})
}
