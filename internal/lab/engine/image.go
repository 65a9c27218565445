// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// Image is a root file system made of the machine's own programs: no registry is needed.
type Image struct {
	Name     string            // for example "nginx"
	Programs []string          // found in PATH; their libraries come along
	Files    map[string]string // content by absolute path
	Changes  []string          // Dockerfile instructions, as `docker import -c` takes them
}

// NginxImage is an nginx on port 80 that answers "/" with a page of 612 bytes and "/whoami" with
// the connection's two ends as it sees them.
func NginxImage() Image {
	const head = "<!DOCTYPE html>\n<h1>Welcome to nginx!</h1>\n"
	return Image{
		Name: "nginx", Programs: []string{"nginx"},
		Files: map[string]string{
			"/etc/nginx/nginx.conf": `user nobody nogroup;
worker_processes 1;
error_log stderr warn;
pid /run/nginx.pid;
events { worker_connections 4096; }
http {
  access_log off;
  default_type text/html;
  keepalive_requests 1000000;
  client_body_temp_path /tmp/b; proxy_temp_path /tmp/p; fastcgi_temp_path /tmp/f; uwsgi_temp_path /tmp/u; scgi_temp_path /tmp/s;
  server {
    listen 80 default_server; listen [::]:80 default_server;
    root /usr/share/nginx/html;
    location = /whoami { default_type text/plain; return 200 "$remote_addr:$remote_port -> $server_addr:$server_port\n"; }
  }
}
`,
			"/usr/share/nginx/html/index.html": head + strings.Repeat("x", 612-len(head)),
		},
		Changes: []string{`CMD ["nginx","-g","daemon off;"]`, "EXPOSE 80"},
	}
}

// ToolsImage has a shell and a few programs, and sleeps.
func ToolsImage() Image {
	return Image{
		Name: "tools", Programs: []string{"sh", "sleep", "cat", "curl"},
		Changes: []string{`CMD ["sleep","infinity"]`},
	}
}

// ImportNginx imports NginxImage.
func (e *Engine) ImportNginx(ctx context.Context) error { return e.Import(ctx, NginxImage()) }

// ImportTools imports ToolsImage.
func (e *Engine) ImportTools(ctx context.Context) error { return e.Import(ctx, ToolsImage()) }

// Import makes an image and gives it to the engine, tagged latest.
func (e *Engine) Import(ctx context.Context, img Image) error {
	return img.give(ctx, func(r io.Reader, args []string) error {
		_, err := e.docker(ctx, r, append(args, img.Name+":latest")...)
		return err
	})
}

// give writes the image as the standard input of an import command, whose arguments but the last one
// it makes.
func (img Image) give(ctx context.Context, run func(r io.Reader, args []string) error) error {
	args := []string{"import"}
	for _, c := range img.Changes {
		args = append(args, "-c", c)
	}
	r, w := io.Pipe()
	made := make(chan error, 1)
	go func() {
		err := img.write(ctx, w)
		w.CloseWithError(err) // nil ends the stream
		made <- err
	}()
	err := run(r, append(args, "-"))
	r.Close() // if the command ended early, the writer must too
	if err = errors.Join(err, <-made); err != nil {
		return fmt.Errorf("import image %s: %w", img.Name, err)
	}
	return nil
}

// command is the image's CMD.
func (img Image) command() []string {
	for _, c := range img.Changes {
		var words []string
		if list, ok := strings.CutPrefix(c, "CMD "); ok && json.Unmarshal([]byte(list), &words) == nil {
			return words
		}
	}
	return nil
}

// write writes the image as a tar stream.
func (img Image) write(ctx context.Context, to io.Writer) error {
	t := &rootfs{tw: tar.NewWriter(to), have: make(map[string]bool)}
	for _, l := range []string{"bin", "sbin", "lib", "lib64"} {
		t.add(&tar.Header{Name: l, Typeflag: tar.TypeSymlink, Linkname: "usr/" + l, Mode: 0o777}, nil)
	}
	for _, d := range []string{"/usr/bin", "/usr/sbin", "/usr/lib", "/usr/lib64", "/etc", "/run", "/dev", "/proc", "/sys", "/var/log/nginx", "/var/lib/nginx"} {
		t.dir(d)
	}
	t.add(&tar.Header{Name: "tmp/", Typeflag: tar.TypeDir, Mode: 0o1777}, nil)
	t.text("/etc/passwd", "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n")
	t.text("/etc/group", "root:x:0:\nnogroup:x:65534:\n")
	t.text("/etc/nsswitch.conf", "hosts: files dns\n")
	for _, name := range img.Programs {
		t.program(ctx, name)
	}
	names := make([]string, 0, len(img.Files))
	for name := range img.Files {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		t.text(name, img.Files[name])
	}
	if t.err != nil {
		return fmt.Errorf("write root file system: %w", t.err)
	}
	return t.tw.Close()
}

// rootfs writes entries once each, and remembers the first error.
type rootfs struct {
	tw   *tar.Writer
	have map[string]bool
	err  error
}

func (t *rootfs) add(h *tar.Header, content []byte) {
	if t.err != nil || t.have[path.Clean(h.Name)] {
		return
	}
	t.have[path.Clean(h.Name)] = true
	h.Size = int64(len(content))
	if t.err = t.tw.WriteHeader(h); t.err == nil {
		_, t.err = t.tw.Write(content)
	}
}

// dir adds a directory and those above it.
func (t *rootfs) dir(name string) {
	name = strings.TrimPrefix(name, "/")
	if name == "" || name == "." || t.have[name] {
		return
	}
	t.dir(path.Dir(name))
	t.add(&tar.Header{Name: name + "/", Typeflag: tar.TypeDir, Mode: 0o755}, nil)
}

func (t *rootfs) text(name, content string) { t.file(name, []byte(content), 0o644) }

func (t *rootfs) file(name string, content []byte, mode int64) {
	t.dir(path.Dir(name))
	t.add(&tar.Header{Name: strings.TrimPrefix(name, "/"), Typeflag: tar.TypeReg, Mode: mode}, content)
}

// program adds a program as /usr/bin/NAME, and its libraries where its loader looks for them.
func (t *rootfs) program(ctx context.Context, name string) {
	if t.err != nil {
		return
	}
	found, err := exec.LookPath(name)
	if err == nil {
		found, err = filepath.EvalSymlinks(found)
	}
	if err != nil {
		t.err = fmt.Errorf("find %s: %w", name, err)
		return
	}
	t.copy("/usr/bin/"+name, found)
	out, err := exec.CommandContext(ctx, "ldd", found).CombinedOutput()
	if err != nil && !bytes.Contains(out, []byte("not a dynamic executable")) {
		t.err = fmt.Errorf("list libraries of %s: %w: %s", found, err, bytes.TrimSpace(out))
		return
	}
	for _, lib := range libraries(string(out)) {
		target, err := filepath.EvalSymlinks(lib)
		if err != nil {
			t.err = fmt.Errorf("find library %s: %w", lib, err)
			return
		}
		if strings.HasPrefix(lib, "/lib") {
			lib = "/usr" + lib // /lib and /lib64 are links to there
		}
		t.copy(lib, target)
	}
}

func (t *rootfs) copy(name, from string) {
	content, err := os.ReadFile(from)
	if err != nil {
		t.err = err
		return
	}
	t.file(name, content, 0o755)
}

// libraries returns the absolute paths in the output of ldd, each once.
func libraries(ldd string) []string {
	found := regexp.MustCompile(`/[^ )\n]+`).FindAllString(ldd, -1)
	slices.Sort(found)
	return slices.Compact(found)
}
