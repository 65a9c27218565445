package prom

// other stands for all values of a label beyond its ceiling.
const other = "other"

// bound keeps the values of a label below a ceiling: those that come first keep
// their name, later ones share one. Not safe for concurrent use.
type bound struct {
	most  int
	known map[string]bool
}

func newBound(most int) *bound { return &bound{most: most, known: map[string]bool{}} }

// of returns value, or other.
func (b *bound) of(value string) string {
	switch {
	case b.known[value]:
		return value
	case len(b.known) >= b.most:
		return other
	}
	b.known[value] = true
	return value
}

// keep forgets all values but those that are in use.
func (b *bound) keep(used func(value string) bool) {
	for value := range b.known {
		if !used(value) {
			delete(b.known, value)
		}
	}
}
