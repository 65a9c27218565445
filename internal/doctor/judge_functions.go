// SPDX-License-Identifier: Apache-2.0

package doctor

// functions says of each provider of functions whether it works. None is needed
// but by --detail functions and --probe, so that nothing here is a failure.
func (j *judge) functions() []Attempt {
	j.section = SectionHooks
	tried := []Attempt{}
	if j.Trial.WorldErr != nil {
		return tried // which is told already
	}
	if err := j.Trial.FunctionsErr; err != nil {
		j.add("functions", Note, todoOf(err), "cannot be probed: %s", why(err))
		return tried
	}
	taken := false
	for _, a := range j.Trial.Functions {
		name := string(a.Provider)
		what := "probes functions, their entries only"
		if a.Provider.Returns() {
			what = "probes functions, with their returns"
		}
		switch {
		case a.Err != nil:
			tried = append(tried, Attempt{Provider: name, Error: why(a.Err)})
			j.add(name, Note, todoOf(a.Err), "%s", why(a.Err))
			continue
		case taken:
			j.note(name, "%s; not needed", what)
		default:
			j.ok(name, "%s: what --detail functions takes", what)
		}
		taken = true
		tried = append(tried, Attempt{Provider: name})
	}
	if !taken && len(tried) > 0 {
		j.note("functions", "cannot be probed here: no --detail functions, no --probe")
	}
	return tried
}
