package setup

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// machine is a made-up Debian: commands that keep their state in files, in
// front of the real ones in PATH.
type machine struct {
	t      *testing.T
	dir    string
	policy string
}

// newMachine has the packages named installed, and those in mirror to offer.
func newMachine(t *testing.T, installed, mirror []string) *machine {
	t.Helper()
	m := &machine{t: t, dir: t.TempDir()}
	m.policy = filepath.Join(m.dir, "policy-rc.d")
	m.put("installed", strings.Join(installed, "\n")+"\n", 0o644)
	m.put("mirror", strings.Join(mirror, "\n")+"\n", 0o644)
	m.put("lists", strings.Join(mirror, "\n")+"\n", 0o644)
	m.put("log", "", 0o644)
	m.command("dpkg-query", `
for last; do :; done
grep -qx "$last" "$M/installed" && printf installed`)
	m.command("apt-cache", `
for last; do :; done
grep -qx "$last" "$M/lists" && printf '%s:\n  Installed: (none)\n  Candidate: 1.0\n' "$last" && seq 20000 || printf '%s:\n  Candidate: (none)\n' "$last"`)
	m.command("apt-get", `
echo "apt-get $1 policy=$(cat "$POLICY_RC_D" 2>/dev/null | tail -1)" >>"$M/log"
if [ "$1" = update ]; then cp "$M/mirror" "$M/lists"; exit 0; fi
[ ! -e "$M/broken" ] || { rm "$M/broken"; exit 100; }
[ ! -e "$M/killed" ] || kill -TERM $PPID
for a; do grep -qxe "$a" "$M/lists" && echo "$a" >>"$M/installed"; done; true`)
	m.command("systemctl", `
if [ "$1" = list-unit-files ]; then
	echo 'ssh.service enabled enabled'
	while read -r p; do [ -z "$p" ] || printf '%s.service enabled enabled\n' "$p"; done <"$M/installed"
	exit 0
fi
echo "systemctl $*" >>"$M/log"`)
	m.command("id", `echo "${FAKE_UID:-0}"`)
	return m
}

func (m *machine) put(name, content string, mode os.FileMode) {
	m.t.Helper()
	if err := os.WriteFile(filepath.Join(m.dir, name), []byte(content), mode); err != nil {
		m.t.Fatal(err)
	}
}

func (m *machine) command(name, body string) {
	m.put(name, "#!/bin/bash\n"+body+"\n", 0o755)
}

func (m *machine) read(name string) string {
	m.t.Helper()
	content, err := os.ReadFile(filepath.Join(m.dir, name))
	if err != nil {
		m.t.Fatal(err)
	}
	return string(content)
}

// need runs need with the given specs and returns what it said.
func (m *machine) need(env []string, specs ...string) (string, error) {
	m.t.Helper()
	lib, err := filepath.Abs("lib.sh")
	if err != nil {
		m.t.Fatal(err)
	}
	args := []string{"-c", `set -euo pipefail; . "$0"; need "$@"; echo done`, lib}
	cmd := exec.Command("bash", append(args, specs...)...)
	cmd.Env = append(os.Environ(), "PATH="+m.dir+":"+os.Getenv("PATH"), "M="+m.dir, "POLICY_RC_D="+m.policy)
	cmd.Env = append(cmd.Env, env...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err = cmd.Run()
	return out.String(), err
}

const forbidding = "policy=exit 101"

func (m *machine) wantNoPolicy() {
	m.t.Helper()
	if _, err := os.Lstat(m.policy); !os.IsNotExist(err) {
		m.t.Errorf("the policy was left behind: %v", err)
	}
}

func TestNothingMissingTouchesNothing(t *testing.T) {
	m := newMachine(t, []string{"jq", "docker-ce"}, nil)
	out, err := m.need([]string{"FAKE_UID=1000"}, "jq", "docker.io|docker-ce")
	if err != nil || out != "done\n" {
		t.Errorf("%v: %s", err, out)
	}
	if log := m.read("log"); log != "" {
		t.Errorf("ran %s", log)
	}
}

func TestInstallsWithoutStartingServices(t *testing.T) {
	m := newMachine(t, []string{"jq"}, []string{"docker.io", "nginx"})
	out, err := m.need(nil, "jq", "docker.io|docker-ce", "nginx-light|nginx")
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if got, want := m.read("installed"), "jq\ndocker.io\nnginx\n"; got != want {
		t.Errorf("installed %q, want %q", got, want)
	}
	log := m.read("log")
	for _, want := range []string{"apt-get install " + forbidding, "systemctl disable --quiet docker.io.service", "systemctl disable --quiet nginx.service"} {
		if !strings.Contains(log, want) {
			t.Errorf("no %q in %s", want, log)
		}
	}
	for _, other := range []string{"disable --quiet jq", "disable --quiet ssh"} {
		if strings.Contains(log, other) {
			t.Errorf("a unit that was enabled before is no longer: %s", log)
		}
	}
	if strings.Contains(log, "apt-get update") || strings.Contains(log, "start") {
		t.Errorf("too much was done: %s", log)
	}
	m.wantNoPolicy()
}

func TestUpdatesListsOnlyWhenNeeded(t *testing.T) {
	for _, cause := range []string{"no lists", "stale lists"} {
		t.Run(cause, func(t *testing.T) {
			m := newMachine(t, nil, []string{"jq"})
			if cause == "no lists" {
				m.put("lists", "", 0o644)
			} else {
				m.put("broken", "", 0o644)
			}
			out, err := m.need(nil, "jq")
			if err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			if n := strings.Count(m.read("log"), "apt-get update"); n != 1 {
				t.Errorf("updated %d times", n)
			}
			m.wantNoPolicy()
		})
	}
}

func TestAnExistingPolicyStays(t *testing.T) {
	m := newMachine(t, nil, []string{"jq"})
	const own = "#!/bin/sh\n# the machine's own\nexit 104"
	m.put("policy-rc.d", own, 0o755)
	if out, err := m.need(nil, "jq"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if got := m.read("policy-rc.d"); got != own {
		t.Errorf("policy is now %q", got)
	}
	if log := m.read("log"); !strings.Contains(log, "policy=exit 104") {
		t.Errorf("log %s", log)
	}
}

func TestALeftPolicyOfOursGoes(t *testing.T) {
	m := newMachine(t, nil, []string{"jq"})
	m.put("policy-rc.d", "#!/bin/sh\n# vethtrace setup: removed when the installation ends\nexit 101\n", 0o755)
	if out, err := m.need(nil, "jq"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	m.wantNoPolicy()
}

func TestAKilledInstallationTakesThePolicyAlong(t *testing.T) {
	m := newMachine(t, nil, []string{"jq"})
	m.put("killed", "", 0o644)
	if out, err := m.need(nil, "jq"); err == nil {
		t.Errorf("no error: %s", out)
	}
	if log := m.read("log"); !strings.Contains(log, forbidding) {
		t.Errorf("log %s", log)
	}
	m.wantNoPolicy()
}

func TestErrorsSayWhatToDo(t *testing.T) {
	tests := []struct {
		name   string
		mirror []string
		env    []string
		want   string
	}{
		{"not root", []string{"jq"}, []string{"FAKE_UID=1000"}, "run as root (sudo -E make ...), or install: jq"},
		{"not in the mirror", nil, nil, "no package mirror of this machine has jq"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := newMachine(t, nil, tt.mirror)
			out, err := m.need(tt.env, "jq")
			if err == nil || !strings.Contains(out, tt.want) {
				t.Errorf("%v: %s", err, out)
			}
			if strings.Contains(m.read("log"), "install") {
				t.Errorf("installed anyway: %s", m.read("log"))
			}
			m.wantNoPolicy()
		})
	}
}

// TestScriptsAreQuick runs the real scripts: on a machine that has run them
// once, or that make test runs on, they install nothing.
func TestScriptsAreQuick(t *testing.T) {
	for _, name := range []string{"accuracy", "demo", "generate", "lint", "test"} {
		out, err := exec.Command("bash", name+".sh").CombinedOutput()
		if err != nil {
			t.Errorf("%s.sh: %v: %s", name, err, out)
		}
		if name == "test" && len(out) > 0 {
			t.Errorf("%s.sh had to do something: %s", name, out)
		}
		info, err := os.Stat(name + ".sh")
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode()&0o111 != 0o111 {
			t.Errorf("%s.sh has mode %v: make can't run it", name, info.Mode())
		}
	}
}
