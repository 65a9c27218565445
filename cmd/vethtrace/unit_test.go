// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/vethtrace/vethtrace/internal/netns"
	"github.com/vethtrace/vethtrace/tracer"
	"github.com/vethtrace/vethtrace/tracer/container"
)

func selfPID() int { return os.Getpid() }

func matches(pattern, s string) bool { return regexp.MustCompile(pattern).MatchString(s) }

// Every kind of error has its status, and is one line without control characters.
func TestReport(t *testing.T) {
	wrap := func(err error) error { return fmt.Errorf("while at it: %w", err) }
	for _, c := range []struct {
		err  error
		want int
		line string
	}{
		{nil, 0, ""},
		{errors.New("plain"), 1, "vethtrace: plain\n"},
		{wrap(&container.EngineError{Host: "unix:///x", Err: errors.New("refused")}), 1, "ask the engine at unix:///x: refused"},
		{wrap(&tracer.NoWayError{Name: "a", Mode: "none"}), 1, "network mode none"},
		{wrap(&tracer.FullError{Table: "targets", Entry: "a"}), 1, "a"},
		{usagef("say %s", "it"), 2, "vethtrace: say it\n"},
		{wrap(&tracer.FilterError{Filter: "protocol", Value: "x", Want: "y"}), 2, "protocol"},
		{wrap(&tracer.UnsupportedError{Feature: "tcx", Needs: "Linux 6.6", Err: syscall.EINVAL}), 3, "tcx: not allowed here, needs Linux 6.6"},
		{wrap(&container.HiddenError{Name: "a", PID: 1, Err: fs.ErrNotExist}), 3, "--pid=host"},
		{wrap(&container.EngineError{Host: "unix:///x", Err: &fs.PathError{Op: "dial", Err: syscall.EACCES}}), 3, "permission denied"},
		{wrap(&container.NotFoundError{Name: "a", Near: []string{"ab"}}), 4, "did you mean ab?"},
		{wrap(&container.NotRunningError{Name: "a", State: "exited"}), 4, "start it first"},
		{wrap(&container.AmbiguousError{Prefix: "a"}), 4, "give more digits"},
		{&statusError{status: 42}, 42, ""},
		{errors.Join(nil, &statusError{143, "said why"}), 143, "vethtrace: said why\n"},
		{errors.Join(errors.New("a\n\tb"), errors.New("\x1b[31mc")), 1, "vethtrace: a; b; \\x1b[31mc\n"},
		{wrap(&container.NotFoundError{Name: "a\x1b"}), 4, `no target "a\x1b"`}, // escaped once
		{notNamespace("/etc/passwd", &fs.PathError{Op: "open", Path: "/etc/passwd", Err: netns.ErrNotNamespace}), 4, "vethtrace: /etc/passwd is not a network namespace: "},
	} {
		var stderr bytes.Buffer
		if got := report(&stderr, c.err); got != c.want {
			t.Errorf("%v: status %d, want %d", c.err, got, c.want)
		}
		if line := stderr.String(); !strings.Contains(line, c.line) || c.line == "" && line != "" || strings.Count(line, "\n") > 1 {
			t.Errorf("%v: line %q, want %q", c.err, line, c.line)
		}
	}
}

func TestMissingRights(t *testing.T) {
	const (
		bpf     = 1 << unix.CAP_BPF
		perfmon = 1 << unix.CAP_PERFMON
		network = 1 << unix.CAP_NET_ADMIN
		admin   = 1 << unix.CAP_SYS_ADMIN
	)
	for have, want := range map[uint64]string{
		math.MaxUint64:                  "",
		network | admin:                 "", // implies the other two
		bpf | perfmon | network | admin: "",
		bpf | perfmon | network:         "CAP_SYS_ADMIN",
		admin:                           "CAP_NET_ADMIN",
		bpf:                             "CAP_PERFMON (to attach to tracepoints), CAP_NET_ADMIN (to attach to devices and netfilter), CAP_SYS_ADMIN",
	} {
		err := missingRights(have)
		if want == "" {
			if err != nil {
				t.Errorf("%x: %v", have, err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), want) || statusOf(err) != exitKernel {
			t.Errorf("%x: %v, want %s", have, err, want)
		}
	}
	if err := explainRights(fmt.Errorf("attach: %w", syscall.EPERM)); statusOf(err) != exitKernel || !strings.Contains(err.Error(), "CAP_NET_ADMIN") {
		t.Error(err)
	}
	plain := errors.New("plain")
	if err := explainRights(plain); !errors.Is(err, plain) || err.Error() != "plain" {
		t.Error(err)
	}
}

// What a caller can do about an error is said with it.
func TestExplain(t *testing.T) {
	late := &container.EngineError{Host: "unix:///tmp/x.sock", Err: errors.New(`Get "http://%2Ftmp%2Fx.sock/_ping": context deadline exceeded`)}
	for _, c := range []struct {
		err    error
		want   string
		status int
	}{
		{explainRights(late), "the engine at unix:///tmp/x.sock does not answer: ", exitFailed},
		{
			explainWay(&tracer.NoWayError{Name: "a", Mode: "netns", Reason: "eth0: its peer is far away", Elsewhere: true}),
			"run vethtrace in that namespace (ip netns exec NAME vethtrace", exitFailed,
		},
		{explainWay(&tracer.NoWayError{Name: "a", Mode: "netns", Reason: "loopback"}), "loopback", exitFailed},
		{explainTarget(&container.NotFoundError{Name: "a"}, howNetns), "a path, or a name", exitNoTarget},
		{explainTarget(&container.NotFoundError{Name: "a", Near: []string{"ab"}}, howNetns), "did you mean ab?", exitNoTarget},
	} {
		text := oneLine(c.err)
		if !strings.Contains(text, c.want) || statusOf(c.err) != c.status {
			t.Errorf("%q, status %d; want %q, %d", text, statusOf(c.err), c.want, c.status)
		}
		if strings.Contains(text, "%2F") || strings.Contains(text, "loopback") && strings.Contains(text, "exec") {
			t.Errorf("too much: %q", text)
		}
	}
	if explainWay(nil) != nil || explainTarget(nil, howPID) != nil {
		t.Error("no error is explained")
	}
}

func TestParseSample(t *testing.T) {
	for s, want := range map[string]uint32{"": 0, "1/1": 1, "1/1000": 1000, "1/4294967295": 4294967295} {
		if got, err := parseSample(s); err != nil || got != want {
			t.Errorf("%q: %d, %v, want %d", s, got, err, want)
		}
	}
	for _, s := range []string{"0", "5", "1/0", "2/3", "x", "1/", "-1", "1/4294967296"} {
		if _, err := parseSample(s); statusOf(err) != exitUsage {
			t.Errorf("%q: %v", s, err)
		}
	}
}

func TestFilters(t *testing.T) {
	var cfg tracer.Config
	o := targetOptions{ports: []string{"80", "65535"}, peer: "10.1.2.3/8", proto: "132"}
	if err := o.fill(&cfg); err != nil {
		t.Fatal(err)
	}
	if !cmp.Equal(cfg.Ports, []uint16{80, 65535}) || cfg.Protocol != "132" || cfg.Peer != netip.MustParsePrefix("10.0.0.0/8") {
		t.Errorf("%+v", cfg)
	}
	o = targetOptions{peer: "2001:db8::1"}
	if err := o.fill(&cfg); err != nil || cfg.Peer != netip.MustParsePrefix("2001:db8::1/128") {
		t.Errorf("%v, %v", cfg.Peer, err)
	}
}

const mountinfo = `31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime shared:4 master:1 - cgroup cgroup rw,cpu,cpuacct
33 31 0:30 /docker/aa /sys/fs/cgroup/my\040memory rw,relatime - cgroup cgroup rw,memory
34 31 0:31 / /sys/fs/cgroup/unified rw,relatime - cgroup2 none rw
not a mount
35 31
`

func TestParseMounts(t *testing.T) {
	got, err := parseMounts(strings.NewReader(mountinfo))
	want := []mount{
		{root: "/", point: "/sys/fs/cgroup/cpu", controllers: []string{"cpu", "cpuacct"}},
		{root: "/docker/aa", point: "/sys/fs/cgroup/my memory", controllers: []string{"memory"}},
		{root: "/", point: "/sys/fs/cgroup/unified"},
	}
	if err != nil || !cmp.Equal(got, want, cmp.AllowUnexported(mount{})) {
		t.Errorf("%v: %s", err, cmp.Diff(want, got, cmp.AllowUnexported(mount{})))
	}
	if c := commonController(got); c != "memory" {
		t.Errorf("controller %q, want memory", c)
	}
	if c := commonController(got[2:]); c != "" {
		t.Errorf("controller %q on a machine with v2 alone", c)
	}
}

func FuzzParseMounts(f *testing.F) {
	f.Add(mountinfo)
	f.Fuzz(func(t *testing.T, s string) {
		mounts, err := parseMounts(strings.NewReader(s))
		if err == nil && len(mounts) > strings.Count(s, " - cgroup") {
			t.Errorf("%d mounts of %q", len(mounts), s)
		}
	})
}

// groupOf prefers v2, then the controllers in order, and sees only what a mount shows.
func TestGroupOf(t *testing.T) {
	dir := t.TempDir()
	inode := func(parts ...string) uint64 {
		path := filepath.Join(append([]string{dir}, parts...)...)
		if err := os.MkdirAll(path, 0o700); err != nil {
			t.Fatal(err)
		}
		var stat unix.Stat_t
		if err := unix.Stat(path, &stat); err != nil {
			t.Fatal(err)
		}
		return stat.Ino
	}
	v2, memory, pids, inner := inode("v2", "a"), inode("memory", "a"), inode("pids", "a"), inode("devices", "inner")
	mounts := []mount{
		{root: "/", point: filepath.Join(dir, "memory"), controllers: []string{"memory"}},
		{root: "/", point: filepath.Join(dir, "pids"), controllers: []string{"pids"}},
		{root: "/docker/x", point: filepath.Join(dir, "devices"), controllers: []string{"devices"}},
		{root: "/", point: filepath.Join(dir, "v2")},
	}
	for _, c := range []struct {
		paths map[string]string
		want  tracer.Cgroup
	}{
		{map[string]string{"": "/a", "memory": "/a"}, tracer.Cgroup{ID: v2}},
		{map[string]string{"": "/", "memory": "/a", "pids": "/a"}, tracer.Cgroup{ID: memory, Controller: "memory"}},
		{map[string]string{"": "/", "memory": "/", "pids": "/a"}, tracer.Cgroup{ID: pids, Controller: "pids"}},
		{map[string]string{"devices": "/docker/x/inner"}, tracer.Cgroup{ID: inner, Controller: "devices"}},
		{map[string]string{"devices": "/docker/y/inner"}, tracer.Cgroup{}}, // not shown here
		{map[string]string{"memory": "/gone"}, tracer.Cgroup{}},
		{map[string]string{"cpu": "/a"}, tracer.Cgroup{}},
		{nil, tracer.Cgroup{}},
	} {
		if got := groupOf(c.paths, mounts); got != c.want {
			t.Errorf("%v: %+v, want %+v", c.paths, got, c.want)
		}
	}
}

// group joins what shares a namespace, named after the one whose namespace it is.
func TestGroup(t *testing.T) {
	const host = 1
	all := []container.Container{
		{ID: "s", Name: "sidecar", Netns: 7, Shares: "n"},
		{ID: "n", Name: "nginx", Netns: 7},
		{ID: "t", Name: "third", Netns: 7, Shares: "n"},
		{ID: "a", Name: "host-a", Netns: host},
		{ID: "b", Name: "host-b", Netns: host},
		{ID: "n", Name: "nginx", Netns: 7}, // named twice
		{Name: "ns", Netns: 9},
		{Name: "ns", Netns: 9},
	}
	var got []string
	for _, m := range group(all, host) {
		got = append(got, m.Name+"="+strings.Join(m.aliases, "+"))
	}
	want := []string{"nginx=sidecar+third", "host-a=", "host-b=", "ns="}
	if !cmp.Equal(got, want) {
		t.Error(cmp.Diff(want, got))
	}
}

// While the live view owns the terminal messages wait; what is too much is lost, not stuck.
func TestGate(t *testing.T) {
	var out bytes.Buffer
	g := &gate{to: &out}
	fmt.Fprint(g, "before ")
	g.close()
	fmt.Fprint(g, "while ")
	if out.String() != "before " {
		t.Errorf("a closed gate let through %q", out.String())
	}
	if n, err := g.Write(make([]byte, gateLimit)); n != gateLimit || err != nil {
		t.Error(n, err)
	}
	g.open()
	fmt.Fprint(g, "after")
	if out.String() != "before while after" {
		t.Errorf("got %q", out.String())
	}
}

func latency(ns, n uint64) tracer.Latency {
	var l tracer.Latency
	l.Hist.AddN(ns, n)
	return l
}

func TestCompareModes(t *testing.T) {
	path := func(d tracer.Direction, whole uint64, hops ...tracer.Hop) tracer.Path {
		return tracer.Path{Direction: d, Peer: "uplink", Flow: "established", Packets: 100, Latency: latency(whole, 100), Hops: hops}
	}
	hop := func(name string, side tracer.Side, ns uint64) tracer.Hop {
		return tracer.Hop{Name: name, Side: side, Latency: latency(ns, 100)}
	}
	bridge := tracer.Target{Name: "bridge-mode", Paths: []tracer.Path{
		path(tracer.Ingress, 5000, hop("routing", tracer.SideHost, 1000), hop("netfilter/input", tracer.SideTarget, 500)),
		path(tracer.Egress, 6000, hop("bridge", tracer.SideHost, 800)),
		{Direction: tracer.Ingress, Peer: "host", Flow: "established", Packets: 1000, Latency: latency(1, 1000)},
	}}
	host := tracer.Target{Name: "host-mode", Paths: []tracer.Path{
		path(tracer.Ingress, 2000, hop("netfilter/input", tracer.SideHost, 400)),
		path(tracer.Egress, 1000, hop("qdisc", tracer.SideHost, 300)),
	}}
	var out bytes.Buffer
	if err := compareModes(&out, tracer.Snapshot{Targets: []tracer.Target{bridge, host}}, true); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`(?m)^in, median +bridge-mode +host-mode +difference$`,
		`(?m)^  routing +1.0\d µs +- +\+1.0\d µs$`,
		`(?m)^  netfilter/input \(target\) +(4|5)\d\d ns +(3|4)\d\d ns +\+\d+ ns$`,
		`(?m)^  qdisc +- +\d+ ns +-\d+ ns$`,
		`(?m)^bridge-mode against host-mode: in (4|5)\.\d+ µs against (1|2)\.\d+ µs \(\+.*\); out `,
	} {
		if !matches(want, out.String()) {
			t.Errorf("no %s in\n%s", want, out.String())
		}
	}
	out.Reset()
	if err := compareModes(&out, tracer.Snapshot{Targets: []tracer.Target{bridge, {Name: "host-mode"}}}, true); err != nil || out.Len() != 0 {
		t.Errorf("nothing to compare: %q, %v", out.String(), err)
	}
}

// Two documents are named by what tells them apart.
func TestShortNames(t *testing.T) {
	for _, tt := range [][4]string{
		{"before.json", "after.json", "before.json", "after.json"},
		{"/tmp/long/before.json", "/tmp/long/after.json", "before.json", "after.json"},
		{"/tmp/before/result.json", "/tmp/after/result.json", "before/result.json", "after/result.json"},
		{"runs/a.json", "runs/a.json", "a.json", "a.json"},
		{"runs/a.json", "runs/ab.json", "a.json", "ab.json"},
		{"a/b/x.json", "a/x.json", "b/x.json", "x.json"},
		{"/x.json", "x.json", "/x.json", "x.json"},
	} {
		if a, b := shortNames(tt[0], tt[1]); a != tt[2] || b != tt[3] {
			t.Errorf("%s and %s are named %s and %s, want %s and %s", tt[0], tt[1], a, b, tt[2], tt[3])
		}
	}
}

// Who was not there all the time is said.
func TestEnded(t *testing.T) {
	life := func(name string, gone bool) tracer.Target { return tracer.Target{Name: name, Gone: gone} }
	for _, tt := range []struct {
		targets []tracer.Target
		want    []string
	}{
		{[]tracer.Target{life("a", false), life("b", false)}, nil},
		{[]tracer.Target{life("a", true), life("b", false)}, []string{"a ended meanwhile"}},
		{[]tracer.Target{life("a", true), life("a", false), life("b", true)}, []string{"a was started again meanwhile", "b ended meanwhile"}},
	} {
		text := ended(tt.targets, [2]string{"a", "b"})
		if (text == "") != (len(tt.want) == 0) {
			t.Errorf("%+v: %q", tt.targets, text)
		}
		for _, w := range tt.want {
			if !strings.Contains(text, w) {
				t.Errorf("%q has not %q", text, w)
			}
		}
	}
}
