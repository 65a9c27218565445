package function

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
)

// Symbol is a function of the running kernel.
type Symbol struct {
	Address uint64 // 0 where it is hidden (kptr_restrict)
	Module  string // "" for the kernel itself
}

// Symbols are the functions of the running kernel, by name.
type Symbols struct {
	byName map[string][]Symbol
	// may has the functions that may be probed, nil where the kernel does not tell.
	may map[string]bool
}

// Read reads the running kernel's symbols from /proc/kallsyms and, where tracefs
// is mounted, which of them may be probed.
func Read() (*Symbols, error) {
	f, err := os.Open("/proc/kallsyms")
	if err != nil {
		return nil, fmt.Errorf("read the kernel's symbols: %w", err)
	}
	defer f.Close()
	s, err := ParseSymbols(f)
	if err != nil {
		return nil, err
	}
	for _, dir := range []string{"/sys/kernel/tracing", "/sys/kernel/debug/tracing"} {
		may, err := os.Open(dir + "/available_filter_functions")
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read which functions may be probed: %w", err)
		}
		defer may.Close()
		return s, s.ParseMay(may)
	}
	return s, nil
}

// ParseSymbols reads lines of /proc/kallsyms: "ffffffffc0401000 t br_forward\t[bridge]".
func ParseSymbols(r io.Reader) (*Symbols, error) {
	s := &Symbols{byName: map[string][]Symbol{}}
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 3 || !strings.ContainsAny(fields[1], "tTwW") {
			continue
		}
		address, err := strconv.ParseUint(fields[0], 16, 64)
		if err != nil {
			return nil, fmt.Errorf("read the kernel's symbols: %w", err)
		}
		symbol := Symbol{Address: address}
		if len(fields) > 3 {
			symbol.Module = strings.Trim(fields[3], "[]")
		}
		s.byName[fields[2]] = append(s.byName[fields[2]], symbol)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read the kernel's symbols: %w", err)
	}
	return s, nil
}

// ParseMay reads lines of available_filter_functions: "br_forward [bridge]".
func (s *Symbols) ParseMay(r io.Reader) error {
	s.may = map[string]bool{}
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		if name, _, _ := strings.Cut(lines.Text(), " "); name != "" {
			s.may[name] = true
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read which functions may be probed: %w", err)
	}
	if len(s.may) == 0 {
		s.may = nil // an empty list says nothing: ftrace is off
	}
	return nil
}

// find returns the symbol with exactly that name; it fails with an UnknownError
// or a NoProbeError. A name with a suffix (.constprop.0, .part.0) is another
// function: the compiler has given it other arguments.
func (s *Symbols) find(name string) (Symbol, error) {
	symbols := s.byName[name]
	switch {
	case len(symbols) > 1:
		return Symbol{}, &NoProbeError{Name: name, Why: fmt.Sprintf("the kernel has %d functions of that name", len(symbols))}
	case len(symbols) == 1 && s.may != nil && !s.may[name]:
		return Symbol{}, &NoProbeError{Name: name, Why: "the kernel does not let it be probed"}
	case len(symbols) == 1:
		return symbols[0], nil
	}
	for other := range s.byName {
		if base, suffix, ok := strings.Cut(other, "."); ok && base == name {
			return Symbol{}, &NoProbeError{Name: name, Why: "the compiler has changed its arguments, it is " + base + "." + suffix + " in this kernel"}
		}
	}
	return Symbol{}, &UnknownError{Name: name, Near: s.near(name)}
}

// mostNear is how many similar names are suggested.
const mostNear = 3

// near returns the functions whose names are most like one, best first.
func (s *Symbols) near(name string) []string {
	type candidate struct {
		name     string
		distance int
	}
	limit := max(2, len(name)/4)
	var found []candidate
	for other := range s.byName {
		if strings.Contains(other, ".") || strings.HasPrefix(other, "__pfx_") || s.may != nil && !s.may[other] {
			continue
		}
		d := limit + 1
		if len(other)-len(name) <= limit && len(name)-len(other) <= limit {
			d = distance(name, other)
		}
		if len(name) >= 5 && strings.Contains(other, name) {
			d = min(d, limit) // the name is there, with more around it
		}
		if d <= limit {
			found = append(found, candidate{other, d})
		}
	}
	slices.SortFunc(found, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(a.distance, b.distance), cmp.Compare(len(a.name), len(b.name)), strings.Compare(a.name, b.name))
	})
	var names []string
	for _, c := range found[:min(mostNear, len(found))] {
		names = append(names, c.name)
	}
	return names
}

// distance is how many letters must be put in, taken out or exchanged (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}

// UnknownError says that the kernel has no function of that name.
type UnknownError struct {
	Name string
	Near []string // names that are like it, best first
}

// Error says so, and what was perhaps meant.
func (e *UnknownError) Error() string {
	text := fmt.Sprintf("function %q: this kernel has none of that name, or its module is not loaded", e.Name)
	if len(e.Near) > 0 {
		text += "; like it: " + strings.Join(e.Near, ", ")
	}
	return text
}

// NoProbeError says that a function of the kernel cannot be followed.
type NoProbeError struct{ Name, Why string }

// Error says why.
func (e *NoProbeError) Error() string { return fmt.Sprintf("function %q: %s", e.Name, e.Why) }
