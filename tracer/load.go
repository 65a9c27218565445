package tracer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/bits"
	"strconv"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"

	"github.com/vethtrace/vethtrace/bpf"
)

// UnsupportedError says that the kernel or the rights do not allow something.
type UnsupportedError struct {
	Feature string // what was tried
	Needs   string // since which kernel, or which capability
	Err     error
}

// Error says what is missing and what it needs.
func (e *UnsupportedError) Error() string {
	return fmt.Sprintf("%s: not allowed here, needs %s: %v", e.Feature, e.Needs, e.Err)
}

// Unwrap returns what the kernel said.
func (e *UnsupportedError) Unwrap() error { return e.Err }

// FilterError says that a filter cannot be understood.
type FilterError struct{ Filter, Value, Want string }

// Error says which filter and what it may be.
func (e *FilterError) Error() string {
	return fmt.Sprintf("%s %q: want %s", e.Filter, e.Value, e.Want)
}

// facts are what loading depends on beside the configuration.
type facts struct {
	hostNetns uint64
	queue     bool // an uplink has a queueing discipline
	hostMode  bool // a target shares the host's namespace, or may come to
	bridge    bool // a target has devices of its own, or may come to
	sockets   bool // sockets must be told apart: host-mode targets or docker-proxy
	napi      bool // a target's veth receives by NAPI
	splits    bool // a target's veth does not take large packets
	cgroup    string
	programs  map[string]bool
	// tracepoints may take the borders of devices over from tcx
	switchable bool
}

// kernel is what was loaded.
type kernel struct {
	maps     bpf.KernelMaps
	programs map[string]*ebpf.Program // once Open has attached them
	loader   *loader
	mem      *memory
	bss      *ebpf.Map
	rest     map[string]*ebpf.Map     // .rodata, which programs are loaded with
	reasons  func() map[uint32]string // of drops, as this kernel numbers them
	object   object
	shared   map[string]*ebpf.Map

	mu       sync.Mutex
	fallback *fallback // nil: no hook has come down to it
}

// Targets share the histograms: each has room for half a dozen paths of eight
// hops, and all together for more where one of them has many. Paths that find
// none are counted, not measured.
const (
	blocksPerTarget = 48
	blocksShared    = 1024
)

// sizes of the maps for so many targets on so many CPUs.
type sizes struct {
	shards, paths, blocks, accounts, waiting int
	calls, rows                              int // of functions; 1 each where none are probed
}

// sizesFor keeps the maps of 1,000 targets below 128 MiB: targets share the
// blocks, and on a machine with many CPUs these share copies of them.
func sizesFor(targets, cpus int) sizes {
	shards := 1 << bits.Len(uint(min(cpus, 4)-1))
	blocks := blocksShared + targets*blocksPerTarget
	if most := (96 << 20) / 1824 / shards; blocks > most {
		blocks = most
	}
	return sizes{
		shards:   shards,
		paths:    max(256, min(8192, 1<<bits.Len(uint(targets*32-1)))),
		blocks:   blocks,
		accounts: targets * 2,
		waiting:  targets * 3,
		calls:    1,
		rows:     1,
	}
}

// load makes the maps, and begins to load the programs.
func load(o object, cfg Config, f facts, fns *functions, by *choice) (*kernel, error) {
	if o.err != nil {
		return nil, o.err
	}
	spec := o.spec

	if err := rlimit.RemoveMemlock(); err != nil {
		return nil, &UnsupportedError{Feature: "lift the limit of locked memory", Needs: "CAP_SYS_RESOURCE, or Linux 5.11", Err: err}
	}
	cpus, err := ebpf.PossibleCPU()
	if err != nil {
		return nil, fmt.Errorf("count CPUs: %w", err)
	}
	size := sizesFor(cfg.Capacity, cpus)
	if cfg.wantsFunctions() {
		size.calls, size.rows, size.blocks = bpf.Slots, functionRows, size.blocks+functionBlocks
	}
	resize(spec, size)
	if fns != nil {
		fns.main.programs = functionPrograms(spec)
	}
	if err := configure(o, cfg, f, size, cpus); err != nil {
		return nil, err
	}
	for name, original := range cfg.copies() {
		spec.Programs[name] = spec.Programs[original].Copy()
	}
	maps.DeleteFunc(spec.Programs, func(name string, _ *ebpf.ProgramSpec) bool { return !f.programs[name] || !by.loads(name) })
	coll, err := makeMaps(spec)
	if errors.Is(err, unix.E2BIG) { // before Linux 6.0
		if err = bpf.Shrink(spec); err == nil {
			coll, err = makeMaps(spec)
		}
	}
	if err != nil {
		return nil, loadError(err)
	}
	wanted := spec.Programs
	spec.Programs = nil
	k := &kernel{programs: map[string]*ebpf.Program{}}
	k.object, k.shared = o, maps.Clone(coll.Maps)
	k.loader = newLoader(o, wanted, maps.Clone(coll.Maps))
	if fns != nil {
		fns.main.load = programLoader(o, maps.Clone(coll.Maps), fns.types)
	}
	k.bss = coll.DetachMap(".bss")
	if err := coll.Assign(&k.maps); err != nil {
		k.rest = coll.Maps
		return nil, errors.Join(fmt.Errorf("find the maps: %w", err), k.close())
	}
	k.rest = coll.Maps // not the collection, which keeps its variables' memory mapped
	if k.mem, err = newMemory(spec, &k.maps, k.bss, size.shards, cpus); err != nil {
		return nil, errors.Join(err, k.close())
	}
	k.reasons = sync.OnceValue(func() map[uint32]string { return dropReasons(o.types) })
	return k, nil
}

// makeMaps makes the maps of an object, with its configuration as it is.
func makeMaps(spec *ebpf.CollectionSpec) (*ebpf.Collection, error) {
	if err := freeze(spec); err != nil {
		return nil, err
	}
	bare := *spec
	// the library would map their memory until the garbage collector comes by: longer than to Close
	bare.Variables, bare.Programs = nil, nil
	return ebpf.NewCollection(&bare)
}

// freeze writes the configuration into the section that it is loaded from.
func freeze(spec *ebpf.CollectionSpec) error {
	const section = ".rodata"
	m := spec.Maps[section]
	if m == nil || len(m.Contents) != 1 {
		return fmt.Errorf("configure: no section %s", section)
	}
	contents, ok := m.Contents[0].Value.([]byte)
	if !ok {
		return fmt.Errorf("configure: section %s holds %T", section, m.Contents[0].Value)
	}
	for _, v := range spec.Variables {
		if v.SectionName == section {
			copy(contents[v.Offset:], v.Value)
		}
	}
	return nil
}

// fallbackFor makes the fallback object's maps when a hook first comes down to
// it; first and last are the borders of netfilter that are wanted.
func (k *kernel) fallbackFor(first, last uint32) func() (*fallback, error) {
	return func() (*fallback, error) {
		k.mu.Lock()
		defer k.mu.Unlock()
		if k.fallback != nil {
			return k.fallback, nil
		}
		var err error
		k.fallback, err = newFallback(k.object.spec, k.shared, k.object.types, first, last)
		return k.fallback, err
	}
}

// misses counts runs of programs that the kernel has left out.
func (k *kernel) misses() (n uint64) {
	count := func(program *ebpf.Program) {
		if stats, err := program.Stats(); err == nil {
			n += stats.RecursionMisses
		}
	}
	for _, program := range k.programs {
		count(program)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.fallback != nil {
		k.fallback.each(count)
	}
	return n
}

func (k *kernel) close() error {
	errs := []error{k.loader.close()}
	if k.fallback != nil {
		errs = append(errs, k.fallback.close())
	}
	if k.mem != nil {
		errs = append(errs, k.mem.close())
	}
	for _, program := range k.programs {
		errs = append(errs, program.Close())
	}
	for _, m := range k.rest {
		errs = append(errs, m.Close())
	}
	errs = append(errs, k.maps.Close(), k.bss.Close())
	return errors.Join(errs...)
}

func resize(spec *ebpf.CollectionSpec, s sizes) {
	spec.Maps["vt_hists"].MaxEntries = uint32(s.blocks * s.shards)
	spec.Maps["vt_free"].MaxEntries = uint32(s.blocks)
	spec.Maps["vt_paths"].MaxEntries = uint32(s.paths)
	spec.Maps["vt_accounts"].MaxEntries = uint32(s.accounts * s.shards)
	spec.Maps["vt_waiting"].MaxEntries = uint32(s.waiting * s.shards)
	spec.Maps["vt_calls"].MaxEntries = uint32(s.calls)
	spec.Maps["vt_rows"].MaxEntries = uint32(s.rows)
	spec.Maps["vt_null"].MaxEntries = uint32(int(bpf.KernelVtTypeVT_TYPE_MAX) * s.shards)
}

func configure(o object, cfg Config, f facts, s sizes, cpus int) error {
	protocol, err := protocolNumber(cfg.Protocol)
	if err != nil {
		return err
	}
	subsys, err := controllerNumber(o.types, f.cgroup)
	if err != nil {
		return err
	}
	reasons := dropReasons(o.types)
	if !cfg.DropRules {
		o.spec.Maps["vt_dropped_packets"].MaxEntries = 1
	}
	high, low, maskHigh, maskLow := prefixWords(cfg)
	for name, value := range map[string]any{
		"cfg_host_netns":       uint32(f.hostNetns),
		"cfg_shard_mask":       uint32(s.shards - 1),
		"cfg_shared_shards":    s.shards < cpus,
		"cfg_path_mask":        uint32(s.paths - 1),
		"cfg_blocks":           uint32(s.blocks),
		"cfg_slow_ns":          uint64(cfg.Slow),
		"cfg_sample":           cfg.Sample,
		"cfg_whole":            cfg.Slow > 0 || cfg.Sample > 0 || cfg.wantsFunctions(),
		"cfg_functions":        cfg.wantsFunctions(),
		"cfg_row_mask":         uint32(s.rows - 1),
		"cfg_end_at_device":    cfg.Detail == DetailDevices,
		"cfg_qdisc":            f.queue,
		"cfg_host_mode":        f.hostMode,
		"cfg_splits":           f.splits,
		"cfg_gro":              f.napi && cfg.Detail != DetailDevices,
		"cfg_switchable":       f.switchable,
		"cfg_budget":           cfg.budgeted(),
		"cfg_keep_dropped":     cfg.DropRules,
		"cfg_reason_netfilter": reasonNumber(reasons, "NETFILTER_DROP"),
		"cfg_reason_tap":       reasonNumber(reasons, "PACKET_SOCK_ERROR"),
		"cfg_reason_purge":     reasonNumber(reasons, "QUEUE_PURGE"),
		"cfg_reason_none":      reasonNumber(reasons, "NOT_SPECIFIED"),
		"cfg_cgroup_subsys":    subsys,
		"cfg_filter_protocol":  protocol,
		"cfg_filter_port":      len(cfg.Ports) > 0,
		"cfg_filter_peer":      cfg.Peer.IsValid(),
		"cfg_peer_high":        high, "cfg_peer_low": low,
		"cfg_peer_mask_high": maskHigh, "cfg_peer_mask_low": maskLow,
	} {
		if err := o.spec.Variables[name].Set(value); err != nil {
			return fmt.Errorf("configure %s: %w", name, err)
		}
	}
	return nil
}

// protocolNumber is the IP protocol of a filter; 0 for any.
func protocolNumber(name string) (uint8, error) {
	switch name {
	case "":
		return 0, nil
	case "tcp":
		return 6, nil
	case "udp":
		return 17, nil
	case "icmp":
		return 1, nil
	}
	n, err := strconv.ParseUint(name, 10, 8)
	if err != nil || n == 0 {
		return 0, &FilterError{Filter: "protocol", Value: name, Want: "tcp, udp, icmp or a number from 1 to 255"}
	}
	return uint8(n), nil
}

// prefixWords are the filter's prefix as the kernel compares it, already masked.
func prefixWords(cfg Config) (high, low, maskHigh, maskLow uint64) {
	if !cfg.Peer.IsValid() {
		return 0, 0, 0, 0
	}
	prefix := cfg.Peer.Masked()
	high, low = addressKey(prefix.Addr())
	var mask [16]byte
	size := 128
	start := 0
	if prefix.Addr().Is4() {
		size, start = 32, 12
	}
	for bit := range size {
		if bit < prefix.Bits() {
			mask[start+bit/8] |= 0x80 >> (bit % 8)
		}
	}
	if size == 32 {
		return high, low, math.MaxUint64, math.MaxUint32<<32 | uint64(binary.NativeEndian.Uint32(mask[12:]))
	}
	return high, low, binary.NativeEndian.Uint64(mask[:8]), binary.NativeEndian.Uint64(mask[8:])
}

// controllerNumber is the running kernel's number of a cgroup v1 controller; -1 for v2.
func controllerNumber(types *btf.Cache, controller string) (int32, error) {
	if controller == "" {
		return -1, nil
	}
	numbers, err := kernelEnum(types, "cgroup_subsys_id")
	if err != nil {
		return 0, err
	}
	for number, name := range numbers {
		if name == controller+"_cgrp_id" {
			return int32(number), nil
		}
	}
	return 0, &UnsupportedError{
		Feature: "tell processes apart by the cgroup controller " + controller,
		Needs:   "a kernel with that controller", Err: errors.ErrUnsupported,
	}
}

// kernelEnum reads an enum of the running kernel: its own words, by number.
func kernelEnum(types *btf.Cache, name string) (map[uint32]string, error) {
	kernel, err := types.Kernel()
	if err != nil {
		return nil, &UnsupportedError{Feature: "read the kernel's types", Needs: "CONFIG_DEBUG_INFO_BTF", Err: err}
	}
	var enum *btf.Enum
	if err := kernel.TypeByName(name, &enum); err != nil {
		return nil, fmt.Errorf("find enum %s in the kernel's types: %w", name, err)
	}
	values := make(map[uint32]string, len(enum.Values))
	for _, value := range enum.Values {
		values[uint32(value.Value)] = value.Name
	}
	return values, nil
}
