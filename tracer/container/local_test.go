// SPDX-License-Identifier: Apache-2.0

package container

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"

	"github.com/vethtrace/vethtrace/internal/netns"
)

func modeOf(s string) container.NetworkMode { return container.NetworkMode(s) }

// startIn starts a command inside a namespace.
func startIn(t *testing.T, ns *netns.NS, cmd *exec.Cmd) {
	t.Helper()
	if err := ns.Do(cmd.Start); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { kill(cmd) })
}

func newNS(t *testing.T) *netns.NS {
	t.Helper()
	ns, err := netns.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ns.Close() })
	return ns
}

// bind gives a namespace a name in a directory, as `ip netns add` does, and
// returns how to take it away.
func bind(t *testing.T, ns *netns.NS, path string) (remove func()) {
	t.Helper()
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount(ns.Path(), path, "none", syscall.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	remove = func() {
		syscall.Unmount(path, syscall.MNT_DETACH)
		os.Remove(path)
	}
	t.Cleanup(remove)
	return remove
}

func TestFromPID(t *testing.T) {
	ns := newNS(t)
	cmd := exec.Command("sleep", "60")
	startIn(t, ns, cmd)
	c, err := FromPID(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	if c.Netns != ns.Inode() || c.Mode != "netns" || c.PID != cmd.Process.Pid || c.ID != "" {
		t.Errorf("%+v", c)
	}
	if want := fmt.Sprintf("sleep[%d]", c.PID); c.Name != want {
		t.Errorf("name %q, want %q", c.Name, want)
	}
	if age := time.Since(c.Started); age < -100*time.Millisecond || age > 5*time.Second {
		t.Errorf("started %v ago", age)
	}
	opened, err := netns.Open(c.NetnsPath)
	if err != nil {
		t.Fatal(err)
	}
	defer opened.Close()
	if opened.Inode() != ns.Inode() {
		t.Error("NetnsPath leads elsewhere")
	}
	if c, err := FromPID(sleeper(t).Process.Pid); err != nil || c.Mode != "host" {
		t.Errorf("a process of our own namespace: mode %q, %v", c.Mode, err)
	}
}

func TestFromPIDWithoutProcess(t *testing.T) {
	zombie := exec.Command("true")
	if err := zombie.Start(); err != nil {
		t.Fatal(err)
	}
	defer zombie.Wait()
	for st := (stat{}); st.state != 'Z'; {
		st, _ = readStat(zombie.Process.Pid)
	}
	for _, pid := range []int{0, -1, 1<<22 + 1, zombie.Process.Pid} {
		var notFound *NotFoundError
		if _, err := FromPID(pid); !errors.As(err, &notFound) {
			t.Errorf("pid %d: %v", pid, err)
		}
	}
}

func TestFromNetns(t *testing.T) {
	ns := newNS(t)
	cmd := exec.Command("sleep", "60")
	startIn(t, ns, cmd)
	dir := t.TempDir()
	path, link := filepath.Join(dir, "web"), filepath.Join(dir, "link")
	bind(t, ns, path)
	if err := os.Symlink("web", link); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{path, link, fmt.Sprintf("/proc/%d/ns/net", cmd.Process.Pid)} {
		c, err := FromNetns(name)
		if err != nil {
			t.Fatal(err)
		}
		if c.Name != name || c.Netns != ns.Inode() || c.PID != cmd.Process.Pid || c.Mode != "netns" || c.NetnsPath != name {
			t.Errorf("%s: %+v", name, c)
		}
	}
	empty := newNS(t)
	bind(t, empty, filepath.Join(dir, "empty"))
	if c, err := FromNetns(filepath.Join(dir, "empty")); err != nil || c.PID != 0 || c.Netns != empty.Inode() {
		t.Errorf("namespace without processes: %+v, %v", c, err)
	}
}

func TestFromNetnsName(t *testing.T) {
	name := fmt.Sprintf("vethtrace-test-%d", os.Getpid())
	if out, err := exec.Command("ip", "netns", "add", name).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	defer exec.Command("ip", "netns", "del", name).Run()
	c, err := FromNetns(name)
	if err != nil || c.Name != name || c.NetnsPath != "/run/netns/"+name {
		t.Errorf("%+v, %v", c, err)
	}
	_, err = FromNetns(name + "x")
	var notFound *NotFoundError
	if !errors.As(err, &notFound) || !slices.Contains(notFound.Near, name) {
		t.Errorf("misspelled: %v", err)
	}
}

func TestFromNetnsErrors(t *testing.T) {
	var notFound *NotFoundError
	for _, name := range []string{"", ".", "..", "/none/such", "no-such-namespace-here"} {
		if _, err := FromNetns(name); !errors.As(err, &notFound) {
			t.Errorf("%q: %v", name, err)
		}
	}
	plain := filepath.Join(t.TempDir(), "plain")
	if err := os.WriteFile(plain, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{plain, "/proc/self/ns/mnt"} {
		if _, err := FromNetns(path); !errors.Is(err, netns.ErrNotNamespace) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestSocketsOfProcess(t *testing.T) {
	ns := newNS(t)
	var tcp net.Listener
	var udp, connected net.Conn
	var bound net.PacketConn
	err := ns.Do(func() (err error) {
		if out, err := exec.Command("ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		if tcp, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			return err
		}
		if bound, err = net.ListenPacket("udp6", "[::1]:0"); err != nil {
			return err
		}
		if udp, err = net.Dial("udp", "127.0.0.1:9"); err != nil {
			return err
		}
		connected, err = net.Dial("tcp", tcp.Addr().String())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	defer bound.Close()
	defer udp.Close()
	defer connected.Close()
	// A process of that namespace that inherits only the first two.
	tcpFile, _ := tcp.(*net.TCPListener).File()
	udpFile, _ := bound.(*net.UDPConn).File()
	defer tcpFile.Close()
	defer udpFile.Close()
	holder, other := exec.Command("sleep", "60"), exec.Command("sleep", "60")
	holder.ExtraFiles = []*os.File{tcpFile, udpFile}
	startIn(t, ns, holder)
	startIn(t, ns, other)

	c, err := FromPID(holder.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Sockets(c)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, l := range got {
		lines = append(lines, fmt.Sprintf("%s %s %d", l.Protocol, l.Addr, l.Port))
	}
	want := []string{
		fmt.Sprintf("tcp 127.0.0.1 %d", tcp.Addr().(*net.TCPAddr).Port),
		fmt.Sprintf("udp ::1 %d", bound.LocalAddr().(*net.UDPAddr).Port),
	}
	if !slices.Equal(lines, want) {
		t.Errorf("sockets %v, want %v", lines, want)
	}
	neighbor, err := FromPID(other.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := Sockets(neighbor); err != nil || got != nil {
		t.Errorf("a neighbor that holds no socket: %v, %v", got, err)
	}
}

func TestProcessesByTreeAndPIDNamespace(t *testing.T) {
	tree := exec.Command("sh", "-c", "sleep 60 & echo $!; wait")
	out, err := tree.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := tree.Start(); err != nil {
		t.Fatal(err)
	}
	defer kill(tree)
	var child int
	if _, err := fmt.Fscan(out, &child); err != nil {
		t.Fatal(err)
	}
	defer syscall.Kill(child, syscall.SIGKILL)
	c, err := FromPID(tree.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	if pids, err := Processes(c); err != nil || !slices.Equal(pids, []int{tree.Process.Pid, child}) {
		t.Errorf("processes %v, %v; want %d and %d", pids, err, tree.Process.Pid, child)
	}
	first := sleeper(t, func(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID} })
	c, err = FromPID(first.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	if pids, err := Processes(c); err != nil || !slices.Equal(pids, []int{first.Process.Pid}) {
		t.Errorf("processes of a PID namespace: %v, %v", pids, err)
	}
	if pids, err := Processes(Container{Name: "empty"}); err != nil || len(pids) != 0 {
		t.Errorf("processes of a namespace without any: %v, %v", pids, err)
	}
}

func TestProxies(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(t.TempDir(), proxyName)
	if err := os.Symlink(exe, program); err != nil {
		t.Fatal(err)
	}
	ns := newNS(t)
	cmd := exec.Command(program, strings.Fields("-proto tcp -host-ip :: -host-port 8080 -container-ip 172.17.0.2 -container-port 80")...)
	cmd.Env = append(os.Environ(), "CONTAINER_TEST_SLEEP=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	startIn(t, ns, cmd)
	var ready string
	if _, err := fmt.Fscan(out, &ready); err != nil || ready != "ready" {
		t.Fatalf("%q, %v", ready, err)
	}
	got, err := Proxies(ns.Inode())
	if err != nil || len(got) != 1 {
		t.Fatalf("proxies %+v, %v", got, err)
	}
	if p := got[0]; p.PID != cmd.Process.Pid || p.Protocol != "tcp" || p.HostIP.String() != "::" || p.HostPort != 8080 ||
		p.ContainerIP.String() != "172.17.0.2" || p.ContainerPort != 80 {
		t.Errorf("proxy %+v", p)
	}
	if got, err := Proxies(newNS(t).Inode()); err != nil || got != nil {
		t.Errorf("proxies of another namespace: %v, %v", got, err)
	}
}
