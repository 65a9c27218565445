package tui

import (
	"strings"

	tea "charm.land/bubbletea/v2"
	"charm.land/lipgloss/v2"

	"github.com/vethtrace/vethtrace/exporter/internal/page"
	"github.com/vethtrace/vethtrace/tracer"
)

// model is the live view's state. Update and View are pure: all that happens
// comes in as messages.
type model struct {
	updates <-chan Update
	color   bool

	width, height int
	now           Update
	got           bool // an Update has come
	ended         bool // no more will

	target     string // key of the chosen one; the first where it is gone
	scroll     int
	raw        bool
	cumulative bool
	help       bool
}

// endMsg says that the channel of updates was closed.
type endMsg struct{}

// key identifies a target over updates.
func key(t tracer.Target) string { return t.ID + "\x00" + t.Name }

// Init waits for the first update.
func (m model) Init() tea.Cmd { return m.next() }

// next waits for an update in the background.
func (m model) next() tea.Cmd {
	updates := m.updates
	return func() tea.Msg {
		u, ok := <-updates
		if !ok {
			return endMsg{}
		}
		return u
	}
}

// Update takes a message in.
func (m model) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case Update:
		m.now, m.got = msg, true
		return m, m.next()
	case endMsg:
		m.ended = true
		return m, tea.Quit
	case tea.WindowSizeMsg:
		m.width, m.height = msg.Width, msg.Height
	case tea.KeyPressMsg:
		return m.press(msg.String())
	}
	m.scroll = m.clamp(m.scroll)
	return m, nil
}

func (m model) press(k string) (tea.Model, tea.Cmd) {
	page := max(m.bodyHeight()-1, 1)
	switch k {
	case "q", "ctrl+c":
		return m, tea.Quit
	case "r":
		m.raw = !m.raw
	case "c":
		m.cumulative = !m.cumulative
	case "?", "h":
		m.help = !m.help
	case "esc":
		m.help = false
	case "tab", "right", "l":
		m.choose(1)
	case "shift+tab", "left":
		m.choose(-1)
	case "down", "j":
		m.scroll++
	case "up", "k":
		m.scroll--
	case "pgdown", "space":
		m.scroll += page
	case "pgup":
		m.scroll -= page
	case "home", "g":
		m.scroll = 0
	case "end", "G":
		m.scroll = len(m.body())
	}
	m.scroll = m.clamp(m.scroll)
	return m, nil
}

// choose goes on by step targets, around the end.
func (m *model) choose(step int) {
	ts := m.shown().Targets
	if len(ts) == 0 {
		return
	}
	m.target = key(ts[(m.at()+step+len(ts))%len(ts)])
	m.scroll = 0
}

// shown is the snapshot that the reader chose.
func (m model) shown() tracer.Snapshot {
	if m.cumulative {
		return m.now.Cumulative
	}
	return m.now.Interval
}

// at is the index of the chosen target.
func (m model) at() int {
	for i, t := range m.shown().Targets {
		if key(t) == m.target {
			return i
		}
	}
	return 0
}

func (m model) options() page.Options {
	return page.Options{Color: m.color, Width: m.width, Raw: m.raw}
}

// body is everything between the head and the foot, unscrolled.
func (m model) body() []string {
	s, o := m.shown(), m.options()
	switch {
	case m.help:
		return helpLines()
	case !m.got:
		return []string{"attached, waiting for the first packets ..."}
	case len(s.Targets) == 0:
		return append(page.Notes(s, o), "no targets: waiting for one")
	}
	lines := page.Notes(s, o)
	return append(lines, page.Target(s.Targets[m.at()], s.Duration, o)...)
}

func helpLines() []string {
	return []string{
		"tab, left, right  switch between targets",
		"up, down, pgup, pgdn, home, end  scroll",
		"c  counts since start, or of the last interval",
		"r  raw: as measured, or without what measuring costs",
		"?  this help",
		"q, ctrl-c  quit and print the summary",
		"",
		"hop    what the kernel does between two stamps of a packet",
		"share  a hop's part of the path's mean; bars are on the scale of the largest",
		"~0     a mean that cannot be told from 0 by measuring",
		"≈      packets moved while the accounting was read; the summary is exact",
		"-      fewer than 10 samples lie above this quantile",
	}
}

// head is the title and a tab per target.
func (m model) head() []string {
	st := lipgloss.NewStyle()
	on, off := st, st
	if m.color {
		on, off = st.Reverse(true).Bold(true), st.Faint(true)
	}
	title, budget := "vethtrace", []string(nil)
	if m.got {
		all := page.Title(m.shown(), page.Options{Raw: m.raw})
		title, budget = all[0], all[1:]
	}
	what := "last interval"
	if m.cumulative {
		what = "since start"
	}
	lines := []string{fit(off.Render(title+"  "+what), m.width)}
	for _, line := range budget {
		lines = append(lines, fit(off.Render(line), m.width))
	}
	ts := m.shown().Targets
	if len(ts) < 2 {
		return lines
	}
	tabs := make([]string, len(ts))
	for i, t := range ts {
		if name := page.Escape(t.Name); i == m.at() {
			tabs[i] = on.Render("[" + name + "]")
		} else {
			tabs[i] = off.Render(" " + name + " ")
		}
	}
	for first := 0; ; first++ { // the chosen one is always seen
		line := strings.Join(tabs[first:], " ")
		if first == m.at() || lipgloss.Width(strings.Join(tabs[first:m.at()+1], " ")) <= m.width {
			return append(lines, fit(line, m.width))
		}
	}
}

// foot is the target in words, what measuring costs, and the keys.
func (m model) foot() []string {
	var lines []string
	if s := m.shown(); m.got {
		if len(s.Targets) > 0 {
			lines = page.Words(s.Targets[m.at()], m.options())
		}
		lines = append(lines, page.Cost(s, m.options())...)
	}
	keys := "q quit  r raw  c cumulative  tab target  ? help"
	if m.raw {
		keys = strings.Replace(keys, "r raw", "r corrected", 1)
	}
	if m.cumulative {
		keys = strings.Replace(keys, "c cumulative", "c interval", 1)
	}
	if hidden := len(m.body()) - m.bodyHeightFor(len(lines)+1); hidden > 0 && m.height > 0 {
		keys += "  up/down scroll"
	}
	st := lipgloss.NewStyle()
	if m.color {
		st = st.Faint(true)
	}
	return append(lines, fit(st.Render(keys), m.width))
}

func (m model) bodyHeight() int { return m.bodyHeightFor(len(m.foot())) }

// bodyHeightFor is how many lines are left; head and foot are set off by one
// empty line each.
func (m model) bodyHeightFor(foot int) int {
	return max(m.height-len(m.head())-foot-2, 1)
}

func (m model) clamp(scroll int) int {
	return max(min(scroll, len(m.body())-m.bodyHeight()), 0)
}

// View draws the state on the whole screen.
func (m model) View() tea.View {
	v := tea.NewView(m.content())
	v.AltScreen = true
	v.WindowTitle = "vethtrace"
	return v
}

// content is exactly as high as the terminal, so that nothing jumps.
func (m model) content() string {
	if m.width <= 0 || m.height <= 0 {
		return ""
	}
	foot := m.foot()
	room := m.bodyHeightFor(len(foot))
	body := m.body()[m.clamp(m.scroll):]
	lines := append(m.head(), "")
	for i := range room {
		line := ""
		if i < len(body) {
			line = body[i]
		}
		lines = append(lines, line)
	}
	lines = append(append(lines, ""), foot...)
	lines = lines[:min(len(lines), m.height)]
	for i := range lines { // pages have a least width, terminals have none
		lines[i] = fit(lines[i], m.width)
	}
	return strings.Join(lines, "\n")
}

// fit cuts a styled line to the terminal.
func fit(line string, width int) string {
	if lipgloss.Width(line) <= width {
		return line
	}
	return lipgloss.NewStyle().MaxWidth(width).Render(line)
}
