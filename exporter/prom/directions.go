package prom

import "github.com/vethtrace/vethtrace/tracer"

// byDirection counts for containers and directions, in the order in which they
// come: those of containers that share a name add up.
type byDirection struct {
	all   []directed
	index map[[2]string]int
}

type directed struct {
	container, direction string
	n                    uint64
}

func (b *byDirection) add(container, direction string, n uint64) {
	at, known := b.index[[2]string{container, direction}]
	if !known {
		if b.index == nil {
			b.index = map[[2]string]int{}
		}
		at = len(b.all)
		b.index[[2]string{container, direction}] = at
		b.all = append(b.all, directed{container: container, direction: direction})
	}
	b.all[at].n += n
}

// differing counts a target's paths that were not predicted, and ways that nobody was seen on.
func differing(t *tracer.Target, name string, unpredicted, unseen *byDirection) {
	if len(t.Unpredicted)+len(t.Unseen) == 0 {
		return // no directions are looked up for a thousand ordinary containers
	}
	directions := make(map[string]string, len(t.Paths))
	for i := range t.Paths {
		directions[t.Paths[i].ID] = t.Paths[i].Direction.String()
	}
	for _, u := range t.Unpredicted {
		unpredicted.add(name, directions[u.Path], 1)
	}
	for _, u := range t.Unseen {
		unseen.add(name, u.Direction.String(), 1)
	}
}
