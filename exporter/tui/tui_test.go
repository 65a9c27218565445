package tui

import (
	"bytes"
	"context"
	"errors"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"charm.land/lipgloss/v2"

	"github.com/vethtrace/vethtrace/exporter/internal/sample"
	"github.com/vethtrace/vethtrace/internal/golden"
	"github.com/vethtrace/vethtrace/tracer"
)

var update = golden.Update("the golden files")

// twice is an update whose interval can be told from its sum.
func twice() Update {
	u := Update{Interval: sample.Snapshot(), Cumulative: sample.Snapshot()}
	u.Cumulative.Duration = time.Minute
	return u
}

// play feeds messages to a fresh model, sized and with one update.
func play(w, h int, keys ...string) model {
	var m tea.Model = model{}
	m, _ = m.Update(tea.WindowSizeMsg{Width: w, Height: h})
	m, _ = m.Update(twice())
	for _, k := range keys {
		m, _ = m.Update(press(k))
	}
	return m.(model)
}

func press(k string) tea.KeyPressMsg {
	special := map[string]tea.KeyPressMsg{
		"tab": {Code: tea.KeyTab}, "shift+tab": {Code: tea.KeyTab, Mod: tea.ModShift},
		"left": {Code: tea.KeyLeft}, "right": {Code: tea.KeyRight}, "up": {Code: tea.KeyUp}, "down": {Code: tea.KeyDown},
		"pgup": {Code: tea.KeyPgUp}, "pgdown": {Code: tea.KeyPgDown}, "home": {Code: tea.KeyHome}, "end": {Code: tea.KeyEnd},
		"esc": {Code: tea.KeyEscape}, "ctrl+c": {Code: 'c', Mod: tea.ModCtrl},
	}
	if msg, ok := special[k]; ok {
		return msg
	}
	return tea.KeyPressMsg{Code: []rune(k)[0], Text: k}
}

func TestGolden(t *testing.T) {
	for name, m := range map[string]model{
		"80x24":      play(80, 24),
		"120x40":     play(120, 40),
		"160x50":     play(160, 50),
		"second":     play(120, 40, "tab"),
		"raw":        play(120, 40, "r"),
		"cumulative": play(120, 40, "c"),
		"help":       play(80, 24, "?"),
		"end":        play(80, 24, "end"),
	} {
		got := m.content() + "\n"
		file := filepath.Join("testdata", name+".txt")
		golden.Compare(t, *update, file, got)
	}
}

func TestViewFillsTheTerminalExactly(t *testing.T) {
	for _, keys := range [][]string{nil, {"?"}, {"end"}, {"tab", "r", "pgdown"}} {
		m := play(80, 24, keys...)
		for w := 1; w <= 200; w += 18 {
			for h := 1; h <= 60; h += 7 {
				m.color = h%2 == 0
				sized, _ := m.Update(tea.WindowSizeMsg{Width: w, Height: h})
				lines := strings.Split(sized.(model).content(), "\n")
				if len(lines) != h {
					t.Fatalf("%dx%d after %v: %d lines", w, h, keys, len(lines))
				}
				for _, l := range lines {
					if got := lipgloss.Width(l); got > w {
						t.Fatalf("%dx%d after %v: %d columns: %q", w, h, keys, got, l)
					}
				}
			}
		}
	}
	if play(0, 0).content() != "" {
		t.Error("something is drawn before the size is known")
	}
}

func TestTargetsAreSwitchedAroundTheEnd(t *testing.T) {
	names := []string{"nginx", "nginx-host", "web", "evil\x1b[31m\u202etac"}
	for keys, want := range map[string]int{
		"": 0, "tab": 1, "right right": 2, "left": 3, "shift+tab shift+tab": 2, "tab tab tab tab": 0,
	} {
		m := play(80, 24, strings.Fields(keys)...)
		if got := m.shown().Targets[m.at()].Name; got != names[want] {
			t.Errorf("after %q: %q", keys, got)
		}
	}
}

func TestChosenTargetStaysOverUpdates(t *testing.T) {
	var m tea.Model = play(80, 24, "tab")
	u := twice()
	u.Interval.Targets = append([]tracer.Target{{Name: "fresh"}}, u.Interval.Targets...)
	m, cmd := m.Update(u)
	if got := m.(model); got.shown().Targets[got.at()].Name != "nginx-host" || cmd == nil {
		t.Errorf("now %q", got.shown().Targets[got.at()].Name)
	}
	u.Interval.Targets = u.Interval.Targets[:1]
	m, _ = m.Update(u)
	if got := m.(model); got.shown().Targets[got.at()].Name != "fresh" {
		t.Error("a target that is gone must give way to the first")
	}
	u.Interval.Targets = nil
	m, _ = m.Update(u)
	m, _ = m.Update(press("tab"))
	if !strings.Contains(m.(model).content(), "no targets") {
		t.Error("no word about no targets")
	}
}

func TestScrollStaysWithin(t *testing.T) {
	for _, c := range []struct {
		keys  []string
		moved bool
	}{
		{[]string{"up"}, false},
		{[]string{"down"}, true},
		{[]string{"down", "up"}, false},
		{[]string{"pgdown"}, true},
		{[]string{"pgdown", "pgup"}, false},
		{[]string{"end", "home"}, false},
		{[]string{"down", "tab"}, false},
	} {
		if m := play(80, 24, c.keys...); (m.scroll > 0) != c.moved {
			t.Errorf("after %v: scrolled by %d", c.keys, m.scroll)
		}
	}
	m := play(80, 24, "end", "down", "down")
	if got := m.scroll + m.bodyHeight(); got != len(m.body()) {
		t.Errorf("the end shows up to line %d of %d", got, len(m.body()))
	}
	var tall tea.Model = m
	tall, _ = tall.Update(tea.WindowSizeMsg{Width: 120, Height: 500})
	if tall.(model).scroll != 0 {
		t.Error("a terminal that holds everything is still scrolled")
	}
}

func TestKeysToggle(t *testing.T) {
	m := play(120, 40)
	for _, c := range []struct {
		key, on string
	}{{"r", "raw: what measuring costs is included"}, {"c", "since start"}, {"?", "this help"}} {
		if strings.Contains(m.content(), c.on) {
			t.Errorf("%q is there without a key", c.on)
		}
		if !strings.Contains(play(120, 40, c.key).content(), c.on) {
			t.Errorf("%s does not show %q", c.key, c.on)
		}
		if got := play(120, 40, c.key, c.key); got.content() != m.content() {
			t.Errorf("%s twice is not as before", c.key)
		}
	}
	if play(120, 40, "?", "esc").help {
		t.Error("esc does not end the help")
	}
}

func TestQuitting(t *testing.T) {
	for _, k := range []string{"q", "ctrl+c"} {
		if _, cmd := play(80, 24).Update(press(k)); cmd == nil || cmd() != tea.Quit() {
			t.Errorf("%s does not quit", k)
		}
	}
	updates := make(chan Update)
	close(updates)
	m := model{updates: updates}
	msg := m.Init()()
	if _, cmd := m.Update(msg); msg != (endMsg{}) || cmd == nil || cmd() != tea.Quit() {
		t.Error("the end of the updates does not quit")
	}
}

// terminal runs the view with keys on a pipe and returns what it wrote.
func terminal(ctx context.Context, t *testing.T, updates <-chan Update, keys io.Reader) string {
	t.Helper()
	var out bytes.Buffer
	done := make(chan error, 1)
	go func() {
		done <- Run(ctx, Config{In: keys, Out: &out, Updates: updates})
	}()
	select {
	case err := <-done:
		if err != nil {
			t.Fatalf("run: %v", err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("the view does not end")
	}
	return out.String()
}

func TestRunEnds(t *testing.T) {
	open := make(chan Update, 1)
	open <- twice()
	never, w := io.Pipe()
	defer w.Close()

	ended, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	terminal(ended, t, open, never)

	terminal(t.Context(), t, open, strings.NewReader("q"))

	shut := make(chan Update)
	close(shut)
	terminal(t.Context(), t, shut, never)

	if err := Run(t.Context(), Config{}); err == nil || errors.Is(err, context.Canceled) {
		t.Errorf("without updates: %v", err)
	}
}
