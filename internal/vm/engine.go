// SPDX-License-Identifier: Apache-2.0

package vm

// engineGroup runs a real Docker engine in the guest: that of this machine, with
// an image made of this machine's nginx by internal/lab/engine.
func engineGroup() Group {
	return Group{
		Name: "engine", Package: "cmd/vethtrace", Tests: []string{"TestDocker", "TestDockerPaths"},
		Programs: []string{
			"dockerd", "docker", "docker-proxy", "docker-init", "containerd", "containerd-shim-runc-v2", "runc", // the engine
			"nsenter", "mount", "mkdir", "ln", // what the lab starts it with
			"nginx", "curl", "bash", "ldd", // what its images are made of, and with
		},
		What: "a real Docker engine: a container by its name, each way to it, hop by hop and counted exactly; restarts and removals",
	}
}
