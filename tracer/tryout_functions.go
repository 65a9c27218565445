package tracer

import "errors"

// everyFunction is one that each kernel has, so that what fails is the provider.
const everyFunction = "ip_rcv"

// TryFunctions tries each provider of functions at a function of the kernel, in
// the order of preference: detail functions gets the first that works. What
// keeps all of them from being tried is an error.
func TryFunctions(cfg Config) (tried []Attempted, err error) {
	cfg = cfg.withDefaults()
	cfg.Probes = []string{everyFunction}
	fns, err := findFunctions(cfg)
	if err != nil {
		return nil, err
	}
	o := readObject(cfg.object)()
	k, err := load(o, cfg, facts{programs: map[string]bool{}}, fns, newChoice(cfg))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, fns.close(), k.close()) }()
	fns.fallback = k.fallbackFor(0, 0)
	probes := fns.probes
	for _, provider := range functionProviders() {
		one := Attempted{Provider: provider.name}
		fns.probes = probes
		if refused := fns.try(provider); refused != nil {
			one.Err = &UnsupportedError{
				Feature: "probe functions by " + string(provider.name), Needs: provider.needs, Err: errors.New(refusal(refused)),
			}
		}
		tried = append(tried, one)
		if err := fns.close(); err != nil {
			return tried, err
		}
	}
	return tried, nil
}

// Returns tells whether a provider of functions tells of their returns, too.
func (p Provider) Returns() bool {
	for _, provider := range functionProviders() {
		if provider.name == p {
			return provider.returns
		}
	}
	return false
}
