package tracer

import (
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/vethtrace/vethtrace/internal/netns"
)

// Without tcx (before Linux 6.6) device borders are filters of a clsact qdisc.
// Unlike links they outlive a process that is killed, so each is recognised by
// its name:
//
//	vethtrace:RUN:made:PROGRAM    the qdisc was made by one of ours, and goes with the last of them
//	vethtrace:RUN:found:PROGRAM   somebody else made it
//
// A run holds the abstract socket @vethtrace-RUN in each namespace where it has
// filters. Where nobody does, that run has gone, and the next one removes them.
const clsactPrefix = "vethtrace:"

// clsact attaches filters, and removes what other runs have left behind.
type clsact struct {
	run string

	mu     sync.Mutex
	spaces map[uint64]*clsactSpace // by inode
}

// clsactSpace is a namespace that has filters of ours.
type clsactSpace struct {
	ns            *netns.NS // our own descriptor: filters may be closed after their target
	socket, users int
}

func newClsact() *clsact {
	return &clsact{run: strings.ToLower(rand.Text()[:12]), spaces: map[uint64]*clsactSpace{}}
}

// filterName is what a filter is recognised by.
type filterName struct {
	run, program string
	made         bool
}

// String is the filter's name in the kernel.
func (n filterName) String() string {
	qdisc := "found"
	if n.made {
		qdisc = "made"
	}
	return clsactPrefix + n.run + ":" + qdisc + ":" + n.program
}

func parseFilterName(name string) (n filterName, ours bool) {
	rest, ours := strings.CutPrefix(name, clsactPrefix)
	parts := strings.Split(rest, ":")
	if !ours || len(parts) != 3 || parts[1] != "made" && parts[1] != "found" {
		return filterName{}, false
	}
	return filterName{run: parts[0], made: parts[1] == "made", program: parts[2]}, true
}

// attach puts a program at a device of a namespace that the calling thread is
// in; behind names the program that it must follow, "" for none.
func (c *clsact) attach(ns *netns.NS, h HookSpec, ifindex int, program *ebpf.Program) (link.Link, error) {
	own, err := c.enter(ns)
	if err != nil {
		return nil, err
	}
	f := &filter{clsact: c, ns: own, ifindex: ifindex, parent: parentOf(h.Egress), name: filterName{run: c.run, program: h.Program}}
	if err = f.add(h, program); err != nil {
		return nil, errors.Join(err, c.leave(ns.Inode()))
	}
	return f, nil
}

// enter notes one more filter in a namespace. At the first one it cleans up
// what runs have left there that have gone.
func (c *clsact) enter(ns *netns.NS) (*netns.NS, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if space := c.spaces[ns.Inode()]; space != nil {
		space.users++
		return space.ns, nil
	}
	socket, err := runSocket(c.run)
	if err != nil {
		return nil, fmt.Errorf("tell other runs of filters: %w", err)
	}
	if err := sweep(); err != nil {
		return nil, errors.Join(err, unix.Close(socket))
	}
	own, err := netns.Open(ns.Path())
	if err != nil {
		return nil, errors.Join(err, unix.Close(socket))
	}
	c.spaces[ns.Inode()] = &clsactSpace{ns: own, socket: socket, users: 1}
	return own, nil
}

func (c *clsact) leave(inode uint64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	space := c.spaces[inode]
	if space == nil {
		return nil
	}
	if space.users--; space.users > 0 {
		return nil
	}
	delete(c.spaces, inode) // an open descriptor would keep the namespace
	return errors.Join(unix.Close(space.socket), space.ns.Close())
}

// runSocket tells that a run is there; EADDRINUSE: it is there already.
func runSocket(run string) (int, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: "@vethtrace-" + run}); err != nil {
		return -1, errors.Join(err, unix.Close(fd))
	}
	return fd, nil
}

// alive tells whether a run is there; one of which that cannot be told is.
func alive(run string) bool {
	fd, err := runSocket(run)
	if err != nil {
		return true
	}
	_ = unix.Close(fd)
	return false
}

func parentOf(egress bool) uint32 {
	if egress {
		return netlink.HANDLE_MIN_EGRESS
	}
	return netlink.HANDLE_MIN_INGRESS
}

// deviceOf is a device by its index, which is all that netlink asks.
func deviceOf(ifindex int) netlink.Link {
	return &netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Index: ifindex}}
}

// filtersAt are the filters at one side of a device, all and ours.
func filtersAt(ifindex int, parent uint32) ([]netlink.Filter, error) {
	all, err := netlink.FilterList(deviceOf(ifindex), parent)
	if errors.Is(err, netlink.ErrDumpInterrupted) {
		all, err = netlink.FilterList(deviceOf(ifindex), parent)
	}
	return all, err
}

// nameOf tells what a filter is to us.
func nameOf(f netlink.Filter) (filterName, bool) {
	of, ok := f.(*netlink.BpfFilter)
	if !ok {
		return filterName{}, false
	}
	return parseFilterName(of.Name)
}

// made tells whether the qdisc of a device was made by one of our runs.
func made(ifindex int) (bool, error) {
	for _, egress := range []bool{false, true} {
		all, err := filtersAt(ifindex, parentOf(egress))
		if err != nil {
			return false, err
		}
		for _, f := range all {
			if name, ours := nameOf(f); ours && name.made {
				return true, nil
			}
		}
	}
	return false, nil
}

func qdiscOf(ifindex int) *netlink.GenericQdisc {
	return &netlink.GenericQdisc{
		QdiscAttrs: netlink.QdiscAttrs{LinkIndex: ifindex, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT},
		QdiscType:  "clsact",
	}
}

// removeQdisc removes a qdisc of ours that nothing else is in.
func removeQdisc(ifindex int) error {
	for _, egress := range []bool{false, true} {
		all, err := filtersAt(ifindex, parentOf(egress))
		if err != nil || len(all) > 0 {
			return goneOrNot(err)
		}
	}
	return goneOrNot(netlink.QdiscDel(qdiscOf(ifindex)))
}

// goneOrNot is nil where what was to be removed, or its device, is no more there.
func goneOrNot(err error) error {
	if errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EINVAL) {
		return nil
	}
	return err
}

// sweep removes filters of runs that have gone, and qdiscs that these made, from
// all devices of the calling thread's namespace.
func sweep() error {
	all, err := netlink.QdiscList(nil)
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return fmt.Errorf("look for filters of runs that have gone: %w", err)
	}
	runs := map[string]bool{} // that are there
	for _, qdisc := range all {
		if qdisc.Type() != "clsact" {
			continue
		}
		if err := sweepDevice(qdisc.Attrs().LinkIndex, runs); err != nil {
			return fmt.Errorf("remove filters of runs that have gone: %w", err)
		}
	}
	return nil
}

func sweepDevice(ifindex int, runs map[string]bool) error {
	qdisc := false
	for _, egress := range []bool{false, true} {
		all, err := filtersAt(ifindex, parentOf(egress))
		if err != nil {
			return goneOrNot(err)
		}
		for _, f := range all {
			name, ours := nameOf(f)
			if !ours {
				continue
			}
			if _, known := runs[name.run]; !known {
				runs[name.run] = alive(name.run)
			}
			if runs[name.run] {
				continue
			}
			if err := goneOrNot(netlink.FilterDel(f)); err != nil {
				return err
			}
			qdisc = qdisc || name.made
		}
	}
	if !qdisc {
		return nil
	}
	return removeQdisc(ifindex)
}

// filter is one of a device's, as a link that is held until it is closed.
type filter struct {
	link.Link // none: the kernel has no link here
	clsact    *clsact
	ns        *netns.NS
	ifindex   int
	parent    uint32
	name      filterName
}

// add makes the qdisc, if there is none, and the filter in it.
func (f *filter) add(h HookSpec, program *ebpf.Program) error {
	err := netlink.QdiscAdd(qdiscOf(f.ifindex))
	switch {
	case err == nil:
		f.name.made = true
	case errors.Is(err, unix.EEXIST):
		if f.name.made, err = f.found(); err != nil {
			return fmt.Errorf("look at the filters of device %d: %w", f.ifindex, err)
		}
	default:
		return fmt.Errorf("make a clsact qdisc at device %d: %w", f.ifindex, err)
	}
	priority, err := f.priority(h.Behind)
	if err == nil {
		err = netlink.FilterAdd(&netlink.BpfFilter{
			FilterAttrs: netlink.FilterAttrs{LinkIndex: f.ifindex, Parent: f.parent, Handle: 1, Protocol: unix.ETH_P_ALL, Priority: priority},
			Fd:          program.FD(), Name: f.name.String(), DirectAction: true,
		})
	}
	if err != nil {
		err = fmt.Errorf("add a filter at device %d: %w", f.ifindex, err)
		if f.name.made {
			err = errors.Join(err, removeQdisc(f.ifindex))
		}
	}
	return err
}

// found tells whether the qdisc that is there was made by one of ours. A filter
// of egress in a qdisc of kind ingress would see what comes in.
func (f *filter) found() (bool, error) {
	all, err := netlink.QdiscList(deviceOf(f.ifindex))
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return false, err
	}
	for _, qdisc := range all {
		if qdisc.Attrs().Handle == netlink.MakeHandle(0xffff, 0) && qdisc.Type() != "clsact" {
			return false, fmt.Errorf("%w: %s", errOccupied, qdisc.Type())
		}
	}
	return made(f.ifindex)
}

// priority is the first that is free: what others have there may end the way
// through the filters. A null hop comes right behind its stamp.
func (f *filter) priority(behind string) (uint16, error) {
	all, err := filtersAt(f.ifindex, f.parent)
	if err != nil {
		return 0, err
	}
	taken, after := map[uint16]bool{}, uint16(0)
	for _, other := range all {
		taken[other.Attrs().Priority] = true
		if name, ours := nameOf(other); ours && behind != "" && name.run == f.name.run && name.program == behind {
			after = other.Attrs().Priority
		}
	}
	if behind != "" && after == 0 {
		return 0, fmt.Errorf("%s, which it must follow, is not there", behind)
	}
	for p := max(after+1, 1); p != 0; p++ {
		if !taken[p] {
			return p, nil
		}
	}
	return 0, errors.New("no priority is free")
}

// Close removes the filter, and the qdisc if it is ours and nothing else is in it.
func (f *filter) Close() error {
	err := f.ns.Do(func() error {
		all, err := filtersAt(f.ifindex, f.parent)
		if err != nil {
			return goneOrNot(err)
		}
		for _, other := range all {
			if name, ours := nameOf(other); ours && name == f.name {
				if err := goneOrNot(netlink.FilterDel(other)); err != nil {
					return err
				}
			}
		}
		if !f.name.made {
			return nil
		}
		return removeQdisc(f.ifindex)
	})
	if err != nil {
		err = fmt.Errorf("remove the filter of %s at device %d: %w", f.name.program, f.ifindex, err)
	}
	return errors.Join(err, f.clsact.leave(f.ns.Inode()))
}
