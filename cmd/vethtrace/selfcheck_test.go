// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/vethtrace/vethtrace/tracer"
)

func TestReadBusy(t *testing.T) {
	text := "cpu  10 0 20 700 50 1 2 30 0 0\ncpu0 5 0 10 350 25 0 1 15 0 0\ncpu1 5 0 10 350 25 1 1 15 0 0\nintr 7\n"
	busy, err := readBusy(text, 10*time.Second) // two CPUs: 20 s, less 7.8 s of idling, waiting and other guests
	if err != nil || busy != 12200*time.Millisecond {
		t.Errorf("%v, %v, want 12.2s", busy, err)
	}
	for _, bad := range []string{"", "cpu  1 2 3\n", "cpu  1 2 3 x 5 6 7 8 9 10\ncpu0 1 2 3 4 5 6 7 8 9 10\n"} {
		if busy, err := readBusy(bad, time.Second); err == nil {
			t.Errorf("%q: %v, want an error", bad, busy)
		}
	}
}

// loads are windows of a second with these processor times (us) per packet.
func loads(packets uint64, perPacket ...float64) []load {
	var all []load
	for _, us := range perPacket {
		all = append(all, load{busy: time.Duration(us * 1e3 * float64(packets)), packets: packets, wall: time.Second})
	}
	return all
}

func TestJudge(t *testing.T) {
	without := loads(10_000, 10, 10.1, 9.9, 10, 10.2, 10)
	c := judge(loads(9_500, 11, 11.1, 10.9, 11, 11.1), without, time.Second)
	if c.Unreliable != "" || c.Pairs != 5 {
		t.Fatalf("%+v", c)
	}
	if c.CPU.Value < 1.08 || c.CPU.Value > 1.12 || c.CPU.Low > c.CPU.Value || c.CPU.High < c.CPU.Value || c.CPU.Low <= 1 {
		t.Errorf("processor time %+v, want about 1.1", c.CPU)
	}
	if c.Rate.Value < 0.949 || c.Rate.Value > 0.951 {
		t.Errorf("rate %+v, want 0.95", c.Rate)
	}
	if c.AddedNs < 900 || c.AddedNs > 1100 || c.CPUNs < 9900 || c.CPUNs > 10200 {
		t.Errorf("%v ns added to %v", c.AddedNs, c.CPUNs)
	}
	if c.Same.Low > 1 || c.Same.High < 1 {
		t.Errorf("windows without against each other: %+v", c.Same)
	}
}

// Nothing added is an interval around 1, not a figure.
func TestJudgeOfNothing(t *testing.T) {
	c := judge(loads(10_000, 10.1, 9.9, 10, 10.05, 9.95), loads(10_000, 10, 10.1, 9.9, 10, 10.1, 10), time.Second)
	if c.Unreliable != "" || c.CPU.Low > 1 || c.CPU.High < 1 {
		t.Errorf("%+v", c)
	}
}

func TestJudgeRefuses(t *testing.T) {
	even := loads(10_000, 10, 10, 10, 10, 10, 10)
	uneven := loads(10_000, 10, 10, 10, 10, 10, 10)
	uneven[2].wall, uneven[2].busy, uneven[2].packets = time.Second, even[2].busy*3, 30_000
	for name, c := range map[string]struct {
		with, without []load
		says          string
	}{
		"too few pairs":  {loads(10_000, 11, 11), loads(10_000, 10, 10, 10), "interrupted: it has 2 of the 5 pairs"},
		"no pair":        {nil, nil, "interrupted: it has 0"},
		"little traffic": {loads(10, 11, 11, 11, 11, 11), even, "too little traffic: 10 packets"},
		"unsteady cost":  {loads(10_000, 11, 11, 11, 11, 11), loads(10_000, 10, 14, 9, 15, 8, 13), "too unsteady: without tracing"},
		"unsteady rate":  {loads(10_000, 11, 11, 11, 11, 11), uneven, "packets per second"},
	} {
		if got := judge(c.with, c.without, time.Second); !strings.Contains(got.Unreliable, c.says) {
			t.Errorf("%s: %q", name, got.Unreliable)
		}
	}
}

// Whatever is accepted makes figures, without --duration too.
func TestSelfCheckHasPairs(t *testing.T) {
	for _, cfg := range []tracer.Config{{}, {MaxOverhead: 0.01}} {
		length := checkLength(cfg)
		least := checkLeast(length)
		for _, duration := range []time.Duration{0, least, 2 * least} {
			if err := checkUsage(&targetOptions{selfCheck: true}, duration, cfg, nil); err != nil {
				t.Errorf("%+v, --duration %s: %v", cfg, duration, err)
			}
			if n := checkPairs(duration, length); n < leastPairs {
				t.Errorf("windows of %s, --duration %s: %d pairs, want at least %d", length, duration, n, leastPairs)
			}
		}
		err := checkUsage(&targetOptions{selfCheck: true}, least-time.Second, cfg, nil)
		if err == nil || statusOf(err) != 2 || !strings.Contains(err.Error(), least.String()) {
			t.Errorf("a second less than %s: %v, want a usage error that names it", least, err)
		}
		if err := checkUsage(&targetOptions{}, time.Second, cfg, nil); err != nil {
			t.Errorf("without --self-check: %v", err)
		}
	}
}

// Where a target ends meanwhile, the windows before it stay, as many without as judge looks at.
func TestCheckWindowsUntilOneFails(t *testing.T) {
	gone := errors.New("the target is gone")
	for fails := range 4 { // this call of traced, 3: none
		calls := 0
		with, without, last, err := checkWindows(3, func() (load, error) { return load{packets: 1}, nil },
			func() (load, tracer.Snapshot, error) {
				if calls++; calls > fails {
					return load{}, tracer.Snapshot{}, gone
				}
				return load{packets: 2}, tracer.Snapshot{Detail: "hooks"}, nil
			})
		if (fails < 3) != errors.Is(err, gone) || len(with) != fails || len(without) != fails+1 || (fails > 0) != (last.Detail != "") {
			t.Errorf("call %d fails: %d with, %d without, %q, %v", fails+1, len(with), len(without), last.Detail, err)
		}
	}
	if with, without, _, err := checkWindows(3, func() (load, error) { return load{}, gone }, nil); !errors.Is(err, gone) || with != nil || without != nil {
		t.Errorf("nothing could be measured: %v %v %v", with, without, err)
	}
}
