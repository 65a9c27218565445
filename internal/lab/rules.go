// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"strings"

	"github.com/vethtrace/vethtrace/internal/netns"
)

// ruleText collects lines for iptables-restore, by table. Families differ only where Docker's do.
type ruleText struct {
	six         bool
	legacy      bool // by iptables-legacy
	filter, nat []string
}

// addBase makes what dockerd makes at its start: chains, the jumps to them, FORWARD policy DROP.
// Docker 20.10 has no DOCKER-USER for IPv6.
func (t *ruleText) addBase() {
	t.filter = append(t.filter, ":FORWARD DROP [0:0]", ":DOCKER - [0:0]",
		":DOCKER-ISOLATION-STAGE-1 - [0:0]", ":DOCKER-ISOLATION-STAGE-2 - [0:0]")
	local := "127.0.0.0/8"
	if t.six {
		local = "::1/128"
	} else {
		t.filter = append(t.filter, ":DOCKER-USER - [0:0]", "-A FORWARD -j DOCKER-USER", "-A DOCKER-USER -j RETURN")
	}
	t.filter = append(t.filter, "-A FORWARD -j DOCKER-ISOLATION-STAGE-1",
		"-A DOCKER-ISOLATION-STAGE-1 -j RETURN", "-A DOCKER-ISOLATION-STAGE-2 -j RETURN")
	t.nat = append(t.nat, ":DOCKER - [0:0]",
		"-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER",
		"-A OUTPUT ! -d "+local+" -m addrtype --dst-type LOCAL -j DOCKER")
}

// addBridge adds a bridge's rules where Docker inserts them: before those of older bridges.
func (t *ruleText) addBridge(name string, subnet netip.Prefix) {
	at := 3 // behind DOCKER-USER and the isolation
	if t.six {
		at = 2
	}
	for i, rule := range []string{
		"-o " + name + " -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
		"-o " + name + " -j DOCKER",
		"-i " + name + " ! -o " + name + " -j ACCEPT",
		"-i " + name + " -o " + name + " -j ACCEPT",
	} {
		t.filter = append(t.filter, fmt.Sprintf("-I FORWARD %d %s", at+i, rule))
	}
	t.filter = append(t.filter,
		"-I DOCKER-ISOLATION-STAGE-1 -i "+name+" ! -o "+name+" -j DOCKER-ISOLATION-STAGE-2",
		"-I DOCKER-ISOLATION-STAGE-2 -o "+name+" -j DROP")
	t.nat = append(t.nat,
		"-I POSTROUTING -s "+subnet.Masked().String()+" ! -o "+name+" -j MASQUERADE",
		"-I DOCKER -i "+name+" -j RETURN")
}

// publish adds (op "-A") or deletes (op "-D") a published port's three rules.
func (t *ruleText) publish(op, bridge string, to netip.Addr, p Port) {
	match := fmt.Sprintf("-p %s -m %s --dport", p.Proto, p.Proto)
	t.filter = append(t.filter, fmt.Sprintf("%s DOCKER -d %s ! -i %s -o %s %s %d -j ACCEPT",
		op, to, bridge, bridge, match, p.Container))
	t.nat = append(t.nat,
		fmt.Sprintf("%s POSTROUTING -s %s -d %s %s %d -j MASQUERADE", op, to, to, match, p.Container),
		fmt.Sprintf("%s DOCKER ! -i %s %s %d -j DNAT --to-destination %s",
			op, bridge, match, p.Host, netip.AddrPortFrom(to, p.Container)))
}

// String is what iptables-restore reads.
func (t *ruleText) String() string {
	var b strings.Builder
	for _, table := range []struct {
		name  string
		lines []string
	}{{"filter", t.filter}, {"nat", t.nat}} {
		if len(table.lines) > 0 {
			fmt.Fprintf(&b, "*%s\n%s\nCOMMIT\n", table.name, strings.Join(table.lines, "\n"))
		}
	}
	return b.String()
}

// load feeds the text to iptables-restore (or ip6tables-restore) inside ns, on top of what is there.
func (t *ruleText) load(ctx context.Context, ns *netns.NS) error {
	name := "iptables"
	if t.six {
		name = "ip6tables"
	}
	if t.legacy {
		name += "-legacy"
	}
	name += "-restore"
	cmd := exec.CommandContext(ctx, name, "--noflush")
	cmd.Stdin = strings.NewReader(t.String())
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := startIn(ns, cmd); err != nil {
		return fmt.Errorf("start %s: %w", name, err)
	}
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("run %s: %w: %s", name, err, bytes.TrimSpace(out.Bytes()))
	}
	return nil
}

// startIn starts a command in ns: a process is born where the thread is that starts it.
func startIn(ns *netns.NS, cmd *exec.Cmd) error { return ns.Do(cmd.Start) }

// Output runs a short command inside the node's network namespace (and the caller's other ones)
// and returns its standard output; its standard error goes into the error.
func (n *Node) Output(ctx context.Context, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	var out, msg bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &msg
	err := startIn(n.NS, cmd)
	if err == nil {
		err = cmd.Wait()
	}
	if err != nil {
		return out.String(), fmt.Errorf("run %s in %s: %w", name, n.Name,
			errors.Join(err, errors.New(strings.TrimSpace(msg.String()))))
	}
	return out.String(), nil
}
