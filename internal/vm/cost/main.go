// SPDX-License-Identifier: Apache-2.0

// Command cost loads every program of the object by itself, as a run does that
// wants all there is, and writes how many instructions the verifier processed
// for each, as JSON. It needs root.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"

	"github.com/vethtrace/vethtrace/bpf"
	"github.com/vethtrace/vethtrace/internal/vm"
)

func main() {
	if err := run(os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "cost:", err)
		os.Exit(1)
	}
}

// everything are the settings of a run for which the verifier finds no code dead that journeys need.
func everything() map[string]any {
	return map[string]any{"cfg_whole": true, "cfg_functions": true, "cfg_row_mask": uint32(4095), "cfg_slow_ns": uint64(1), "cfg_sample": uint32(1), "cfg_host_mode": true}
}

func run(out io.Writer) error {
	if err := rlimit.RemoveMemlock(); err != nil {
		return fmt.Errorf("lift the limit of locked memory: %w", err)
	}
	programs, err := loadAll(everything())
	if err != nil {
		return err
	}
	if err := json.NewEncoder(out).Encode(programs); err != nil {
		return fmt.Errorf("write the figures: %w", err)
	}
	return nil
}

// loadAll loads every program of both objects, with these settings. Those of the
// fallback, which share the maps, are named as such.
func loadAll(settings map[string]any) (costs []vm.Program, err error) {
	spec, err := bpf.LoadKernel()
	if err != nil {
		return nil, fmt.Errorf("read the object: %w", err)
	}
	for name, value := range settings {
		if err := spec.Variables[name].Set(value); err != nil {
			return nil, fmt.Errorf("set %s: %w", name, err)
		}
	}
	shared, err := makeMaps(spec)
	if errors.Is(err, unix.E2BIG) { // before Linux 6.0
		if err := bpf.Shrink(spec); err != nil {
			return nil, fmt.Errorf("make the object smaller: %w", err)
		}
		shared, err = makeMaps(spec)
	}
	if err != nil { // an old kernel may have none of the kind, or none so large: no program can be loaded there
		for _, name := range slices.Sorted(maps.Keys(spec.Programs)) {
			costs = append(costs, vm.Program{Name: name, Error: "make the maps: " + reason(err)})
		}
		return costs, nil
	}
	defer shared.Close()
	fallback, err := bpf.LoadFallbackFor(spec)
	if err != nil {
		return nil, fmt.Errorf("read the fallback object: %w", err)
	}
	fallback.Variables["cfg_set_mask"].Value = spec.Variables["cfg_set_mask"].Value // fewer where variables are small
	opts := ebpf.CollectionOptions{
		MapReplacements: shared.Maps, Cache: btf.NewCache(), Programs: ebpf.ProgramOptions{LogLevel: ebpf.LogLevelStats},
	}
	costs = loadEach(spec, opts)
	own, err := constants(fallback, settings)
	if err != nil {
		return nil, err
	}
	defer own.Close()
	opts.MapReplacements = maps.Clone(shared.Maps)
	maps.Copy(opts.MapReplacements, own.Maps)
	for name := range fallback.Maps { // as large as the main object's, whose they are
		if main := spec.Maps[name]; main != nil && name != rodata {
			fallback.Maps[name] = main.Copy()
		}
	}
	for _, cost := range loadEach(fallback, opts) {
		cost.Name = vm.FallbackPrefix + cost.Name
		costs = append(costs, cost)
	}
	return costs, nil
}

// makeMaps makes an object's maps.
func makeMaps(spec *ebpf.CollectionSpec) (*ebpf.Collection, error) {
	bare := spec.Copy()
	bare.Programs, bare.Variables = nil, map[string]*ebpf.VariableSpec{}
	for name, v := range spec.Variables {
		if v.SectionName == rodata {
			bare.Variables[name] = v
		}
	}
	return ebpf.NewCollection(bare)
}

// rodata is the section that each object has for itself.
const rodata = ".rodata"

// constants makes that section of an object, with these settings.
func constants(object *ebpf.CollectionSpec, settings map[string]any) (*ebpf.Collection, error) {
	for name, value := range settings {
		if v := object.Variables[name]; v != nil {
			if err := v.Set(value); err != nil {
				return nil, fmt.Errorf("set %s of the fallback: %w", name, err)
			}
		}
	}
	for _, name := range []string{"cfg_netfilter_first", "cfg_netfilter_last"} { // all that trampolines may be asked for
		if err := object.Variables[name].Set(uint32(1<<10 - 1)); err != nil {
			return nil, fmt.Errorf("set %s: %w", name, err)
		}
	}
	bare := object.Copy()
	bare.Programs = nil
	maps.DeleteFunc(bare.Maps, func(name string, _ *ebpf.MapSpec) bool { return name != rodata })
	maps.DeleteFunc(bare.Variables, func(_ string, v *ebpf.VariableSpec) bool { return v.SectionName != rodata })
	own, err := ebpf.NewCollection(bare)
	if err != nil {
		return nil, fmt.Errorf("make the fallback's constants: %w", err)
	}
	return own, nil
}

// loadEach loads every program of an object.
func loadEach(spec *ebpf.CollectionSpec, opts ebpf.CollectionOptions) (costs []vm.Program) {
	for _, name := range slices.Sorted(maps.Keys(spec.Programs)) {
		one := spec.Copy()
		program := one.Programs[name]
		if strings.HasPrefix(name, vm.CallPrefix) && (program.AttachType == ebpf.AttachTraceFEntry || program.AttachType == ebpf.AttachTraceFExit) {
			program.AttachTo = traced
		}
		one.Variables, one.Programs = nil, map[string]*ebpf.ProgramSpec{name: program}
		costs = append(costs, loadOne(one, name, opts))
	}
	return costs
}

// traced is a function that every kernel has: to which one a program is attached does not matter to its cost.
const traced = "ip_rcv"

func loadOne(spec *ebpf.CollectionSpec, name string, opts ebpf.CollectionOptions) vm.Program {
	cost := vm.Program{Name: name}
	coll, err := ebpf.NewCollectionWithOptions(spec, opts)
	if err != nil {
		cost.Error = strings.TrimPrefix(reason(err), "program "+name+": ")
		return cost
	}
	defer coll.Close()
	if cost.Instructions = processed(coll.Programs[name].VerifierLog); cost.Instructions == 0 {
		cost.Error = "the verifier's log does not tell"
	}
	return cost
}

// processed is the number in "processed 123 insns (limit 1000000) ..."; 0 where there is none.
func processed(log string) int {
	m := regexp.MustCompile(`processed (\d+) insns`).FindStringSubmatch(log)
	if m == nil {
		return 0
	}
	n, err := strconv.Atoi(m[1])
	if err != nil {
		return 0
	}
	return n
}

// reason is why a program cannot be loaded, in a line.
func reason(err error) string {
	var verifier *ebpf.VerifierError
	if errors.As(err, &verifier) {
		said := slices.DeleteFunc(slices.Clone(verifier.Log), statistics)
		return strings.TrimSpace(verifier.Cause.Error() + ": " + strings.Join(said[max(0, len(said)-2):], "; "))
	}
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}

// statistics tells whether a line of the verifier's log is one of those at its end.
func statistics(line string) bool {
	return slices.ContainsFunc([]string{"verification time ", "stack depth ", "processed "}, func(head string) bool { return strings.HasPrefix(line, head) })
}
