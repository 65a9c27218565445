// SPDX-License-Identifier: Apache-2.0

package container

import (
	"cmp"
	"encoding/json"
	"net/netip"
	"slices"
	"strings"

	"github.com/containerd/containerd/api/services/containers/v1"
)

// What nerdctl writes into labels, and Kubernetes' CRI plugin into annotations.
const (
	labelNerdctlName     = "nerdctl/name"
	labelNerdctlPorts    = "nerdctl/ports"
	labelNerdctlNetworks = "nerdctl/networks"

	annotationSandbox   = "io.kubernetes.cri.sandbox-id"
	annotationPod       = "io.kubernetes.cri.sandbox-name"
	annotationPodSpace  = "io.kubernetes.cri.sandbox-namespace"
	annotationContainer = "io.kubernetes.cri.container-name"
)

// spec is what is used of a container's OCI runtime specification.
type spec struct {
	Annotations map[string]string `json:"annotations"`
	Linux       struct {
		Namespaces []struct {
			Type string `json:"type"`
			Path string `json:"path"`
		} `json:"namespaces"`
	} `json:"linux"`
}

// specOf reads a document's specification; the zero value where there is none.
func specOf(doc *containers.Container) spec {
	var s spec
	if err := json.Unmarshal(doc.GetSpec().GetValue(), &s); err != nil {
		return spec{} // a runtime of another kind
	}
	return s
}

// nameIn is a container's name for people: nerdctl's, that of a pod's container
// (CONTAINER.POD.NAMESPACE; of the pod itself POD.NAMESPACE), else the id.
func nameIn(doc *containers.Container) string {
	if name := doc.GetLabels()[labelNerdctlName]; name != "" {
		return name
	}
	a := specOf(doc).Annotations
	if pod := a[annotationPod]; pod != "" {
		parts := []string{a[annotationContainer], pod, a[annotationPodSpace]}
		return strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), ".")
	}
	return doc.GetID()
}

// describe makes a Container of a document and what CNI has kept.
func (d *Containerd) describe(u unit, kept []attachment) (Container, error) {
	s := specOf(u.doc)
	c := Container{
		ID: idOf(u.space, u.id), Name: nameIn(u.doc), Image: u.doc.GetImage(), Runtime: RuntimeContainerd, Space: u.space,
		PID: u.pid, Labels: u.doc.GetLabels(),
	}
	if err := c.fill(); err != nil {
		return Container{}, &HiddenError{Name: c.Name, PID: c.PID, Err: err}
	}
	c.Started = startTime(c.startTicks)
	pod := s.Annotations[annotationSandbox]
	if pod != u.id {
		c.Shares = pod
	}
	ids := []string{cmp.Or(pod, u.id), u.space + "-" + u.id}
	for _, a := range kept {
		if !slices.Contains(ids, a.ContainerID) {
			continue
		}
		c.Networks = append(c.Networks, a.network())
		if c.Shares == "" { // the ports of a pod are the pod's
			c.Ports = append(c.Ports, a.ports()...)
		}
	}
	if len(c.Ports) == 0 && c.Shares == "" {
		c.Ports = mappings([]byte(u.doc.GetLabels()[labelNerdctlPorts]))
	}
	c.Ports = slices.CompactFunc(slices.SortedFunc(slices.Values(c.Ports), comparePorts), func(a, b Port) bool { return a == b })
	mode, err := modeIn(c, s)
	c.Mode = mode
	return c, err
}

// modeIn names how a container is connected, as Docker would.
func modeIn(c Container, s spec) (string, error) {
	local, err := localMode(c.Netns)
	if err != nil || local == modeHost {
		return local, err
	}
	var networks []string
	if err := json.Unmarshal([]byte(c.Labels[labelNerdctlNetworks]), &networks); err == nil && len(networks) > 0 {
		if other, ok := strings.CutPrefix(networks[0], "container:"); ok {
			return "container:" + short(other), nil
		}
		return networks[0], nil
	}
	switch {
	case c.Shares != "":
		return "container:" + strings.TrimPrefix(c.Name, s.Annotations[annotationContainer]+"."), nil
	case len(c.Networks) > 0:
		return c.Networks[0].Name, nil
	}
	return modeNetns, nil
}

// mapping is a published port as CNI's portmap plugin takes it.
type mapping struct {
	HostPort, ContainerPort uint16
	Protocol, HostIP        string
}

// mappings reads a list of published ports: none where it can't be read.
func mappings(b []byte) []Port {
	var list []mapping
	if err := json.Unmarshal(b, &list); err != nil {
		return nil
	}
	var ports []Port
	for _, m := range list {
		addr := netip.IPv4Unspecified()
		if m.HostIP != "" {
			var err error
			if addr, err = netip.ParseAddr(m.HostIP); err != nil {
				continue
			}
		}
		if m.HostPort == 0 || m.ContainerPort == 0 {
			continue
		}
		ports = append(ports, Port{
			Host: netip.AddrPortFrom(addr.Unmap(), m.HostPort), Container: m.ContainerPort,
			Protocol: strings.ToLower(cmp.Or(m.Protocol, "tcp")),
		})
	}
	return ports
}
