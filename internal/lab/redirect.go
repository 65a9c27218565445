// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"errors"
	"fmt"
	"net"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
)

// Redirect sends what a device receives for one UDP port out of another device
// of the node, past all that lies between: what a program of traffic control or
// XDP does that somebody else has attached.
type Redirect struct {
	prog *ebpf.Program
	link link.Link
}

// Offsets in an Ethernet frame with an IPv4 header without options.
const (
	offsetProtocol = 14 + 9
	offsetUDPPort  = 14 + 20 + 2
	headersLength  = 14 + 20 + 8
	protocolUDP    = 17
)

// RedirectTCX redirects from traffic control, behind all that is attached there
// already, and gives the frames the address of their new receiver.
func (n *Node) RedirectTCX(from, to string, receiver net.HardwareAddr, port uint16) (*Redirect, error) {
	target, err := n.nl.LinkByName(to)
	if err != nil {
		return nil, fmt.Errorf("look up %s of %s: %w", to, n.Name, err)
	}
	r, err := newRedirect(ebpf.SchedCLS, redirectTCX(target.Attrs().Index, receiver, port))
	if err != nil {
		return nil, err
	}
	if r.link, err = n.attachTCX(r.prog, from, Ingress, link.Tail()); err != nil {
		return nil, errors.Join(err, r.prog.Close())
	}
	return r, nil
}

// RedirectXDP redirects by XDP in its generic mode, which every device and kernel has.
func (n *Node) RedirectXDP(from, to string, port uint16) (*Redirect, error) {
	source, err := n.nl.LinkByName(from)
	if err != nil {
		return nil, fmt.Errorf("look up %s of %s: %w", from, n.Name, err)
	}
	target, err := n.nl.LinkByName(to)
	if err != nil {
		return nil, fmt.Errorf("look up %s of %s: %w", to, n.Name, err)
	}
	r, err := newRedirect(ebpf.XDP, redirectXDP(target.Attrs().Index, port))
	if err != nil {
		return nil, err
	}
	err = n.NS.Do(func() (err error) {
		r.link, err = link.AttachXDP(link.XDPOptions{
			Program: r.prog, Interface: source.Attrs().Index, Flags: link.XDPGenericMode,
		})
		return err
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("attach XDP to %s of %s: %w", from, n.Name, err), r.prog.Close())
	}
	return r, nil
}

// Close detaches it.
func (r *Redirect) Close() error { return errors.Join(r.link.Close(), r.prog.Close()) }

func newRedirect(kind ebpf.ProgramType, body asm.Instructions) (*Redirect, error) {
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{Name: "lab_redirect", Type: kind, License: "GPL", Instructions: body})
	if err != nil {
		return nil, fmt.Errorf("load a redirecting program: %w", err)
	}
	return &Redirect{prog: prog}, nil
}

func redirectTCX(to int, receiver net.HardwareAddr, port uint16) asm.Instructions {
	const next = -1 // TCX_NEXT
	var body asm.Instructions
	body = append(body,
		asm.Mov.Reg(asm.R6, asm.R1), // where loads from the packet expect the context
		asm.LoadAbs(offsetProtocol, asm.Byte),
		asm.JNE.Imm(asm.R0, protocolUDP, "pass"),
		asm.LoadAbs(offsetUDPPort, asm.Half),
		asm.JNE.Imm(asm.R0, int32(port), "pass"),
	)
	for i, b := range receiver {
		body = append(body, asm.StoreImm(asm.RFP, int16(i-8), int64(b), asm.Byte))
	}
	return append(body,
		asm.Mov.Reg(asm.R1, asm.R6),
		asm.Mov.Imm(asm.R2, 0),
		asm.Mov.Reg(asm.R3, asm.RFP),
		asm.Add.Imm(asm.R3, -8),
		asm.Mov.Imm(asm.R4, int32(len(receiver))),
		asm.Mov.Imm(asm.R5, 0),
		asm.FnSkbStoreBytes.Call(),
		asm.Mov.Imm(asm.R1, int32(to)),
		asm.Mov.Imm(asm.R2, 0),
		asm.FnRedirect.Call(),
		asm.Return(),
		asm.Mov.Imm(asm.R0, next).WithSymbol("pass"),
		asm.Return(),
	)
}

func redirectXDP(to int, port uint16) asm.Instructions {
	const pass = 2 // XDP_PASS
	return asm.Instructions{
		asm.LoadMem(asm.R2, asm.R1, 0, asm.Word), // data
		asm.LoadMem(asm.R3, asm.R1, 4, asm.Word), // data_end
		asm.Mov.Reg(asm.R4, asm.R2),
		asm.Add.Imm(asm.R4, headersLength),
		asm.JGT.Reg(asm.R4, asm.R3, "pass"),
		asm.LoadMem(asm.R5, asm.R2, offsetProtocol, asm.Byte),
		asm.JNE.Imm(asm.R5, protocolUDP, "pass"),
		asm.LoadMem(asm.R5, asm.R2, offsetUDPPort, asm.Half),
		asm.HostTo(asm.BE, asm.R5, asm.Half),
		asm.JNE.Imm(asm.R5, int32(port), "pass"),
		asm.Mov.Imm(asm.R1, int32(to)),
		asm.Mov.Imm(asm.R2, 0),
		asm.FnRedirect.Call(),
		asm.Return(),
		asm.Mov.Imm(asm.R0, pass).WithSymbol("pass"),
		asm.Return(),
	}
}
