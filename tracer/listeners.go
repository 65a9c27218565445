package tracer

import "fmt"

// SetListeners replaces the ports that a target in host mode is known to listen
// on, by its ID or, without one, its name. TCP listeners that it opens while it
// is traced are found without this; bound UDP ports are not, as no event tells.
func (t *Tracer) SetListeners(idOrName string, listeners []Listener) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil
	}
	for _, target := range t.targets {
		if target == nil || target.spec.ID != idOrName && target.spec.Name != idOrName {
			continue
		}
		if !target.hostMode {
			return fmt.Errorf("target %s has a namespace of its own: its listeners are not needed", idOrName)
		}
		now := map[Listener]bool{}
		for _, l := range listeners {
			now[l] = true
			t.tables.setPort(l.Protocol, l.Port, target.number, false)
		}
		for _, l := range target.spec.Listeners {
			if !now[l] {
				t.tables.dropPort(l.Protocol, l.Port, target.number)
			}
		}
		target.spec.Listeners = listeners
	}
	return nil
}
