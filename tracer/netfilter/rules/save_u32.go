// SPDX-License-Identifier: Apache-2.0

package rules

import "strings"

// readU32 reads "--u32 tests", as u32_match_it runs them.
func readU32(p *ruleParser, _ string) (Match, error) {
	var m U32
	err := p.each(func(word string, not bool) (err error) {
		if word != "--u32" {
			return errOption(word)
		}
		m.Not, m.Text = not, p.next()
		m.Tests, err = parseU32(m.Text)
		return err
	})
	return m, err
}

func parseU32(text string) ([]U32Test, error) {
	var tests []U32Test
	for one := range strings.SplitSeq(strings.ReplaceAll(text, " ", ""), "&&") {
		location, values, ok := strings.Cut(one, "=")
		if !ok {
			return nil, errOption(text)
		}
		t, err := parseU32Location(location)
		if err != nil {
			return nil, err
		}
		for v := range strings.SplitSeq(values, ",") {
			first, last, ranged := strings.Cut(v, ":")
			lo, err := parse32(first)
			if err != nil {
				return nil, err
			}
			hi := lo
			if ranged {
				if hi, err = parse32(last); err != nil {
					return nil, err
				}
			}
			t.Values = append(t.Values, [2]uint32{lo, hi})
		}
		tests = append(tests, t)
	}
	return tests, nil
}

func parseU32Location(s string) (U32Test, error) {
	var t U32Test
	op := byte(0)
	for s != "" {
		end := strings.IndexAny(s, "&<>@")
		if end < 0 {
			end = len(s)
		}
		n, err := parse32(s[:end])
		if err != nil {
			return t, err
		}
		if op == 0 {
			t.Start = n
		} else {
			t.Steps = append(t.Steps, U32Step{op, n})
		}
		s = s[end:]
		if s == "" {
			break
		}
		op = s[0]
		s = strings.TrimLeft(s[1:], string(op)) // << and >> are two characters
	}
	return t, nil
}
