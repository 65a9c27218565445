// SPDX-License-Identifier: Apache-2.0

package environment

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// Difference is something that two environments do not share.
type Difference struct {
	Key  string // with dots: sysctls.net.ipv4.ip_forward
	A, B string // "" where one has no such key
}

// Differences lists what differs, by key. Devices that come and go with
// containers, and are not in both, are left out: their names are random.
func Differences(a, b Environment) ([]Difference, error) {
	left, err := flat(a)
	if err != nil {
		return nil, err
	}
	right, err := flat(b)
	if err != nil {
		return nil, err
	}
	var all []Difference
	for key, value := range left {
		if other, ok := right[key]; other != value && (ok || !transient(key)) {
			all = append(all, Difference{key, value, other})
		}
	}
	for key, value := range right {
		if _, ok := left[key]; !ok && !transient(key) {
			all = append(all, Difference{key, "", value})
		}
	}
	slices.SortFunc(all, func(x, y Difference) int { return cmp.Compare(x.Key, y.Key) })
	return all, nil
}

func transient(key string) bool {
	return strings.HasPrefix(key, "devices.veth") || strings.HasPrefix(key, "devices.br-") || strings.HasPrefix(key, "unread")
}

// flat is the environment as keys and values.
func flat(e Environment) (map[string]string, error) {
	raw, err := json.Marshal(e)
	if err != nil {
		return nil, fmt.Errorf("compare environments: %w", err)
	}
	var tree map[string]any
	if err := json.Unmarshal(raw, &tree); err != nil {
		return nil, fmt.Errorf("compare environments: %w", err)
	}
	devices := map[string]any{}
	for _, d := range e.Devices {
		devices[d.Name] = map[string]any{
			"kind": d.Kind, "driver": d.Driver, "mtu": d.MTU, "qdisc": d.Qdisc, "offloads": strings.Join(d.Offloads, " "),
		}
	}
	tree["devices"] = devices
	out := map[string]string{}
	flatten("", tree, out)
	return out, nil
}

func flatten(at string, v any, out map[string]string) {
	switch v := v.(type) {
	case map[string]any:
		for key, value := range v {
			name := key
			if at != "" {
				name = at + "." + key
			}
			flatten(name, value, out)
		}
	case []any:
		out[at] = fmt.Sprint(v...)
	case nil:
	default:
		out[at] = fmt.Sprint(v)
	}
}
