// SPDX-License-Identifier: Apache-2.0

package report_test

import (
	"context"
	"errors"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// browser is one headless Chromium for all pages of a test.
type browser struct {
	ctx context.Context
}

// newBrowser starts it; deploy/setup installs one. It loads files only.
func newBrowser(t *testing.T) *browser {
	t.Helper()
	var path string
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if found, err := exec.LookPath(name); err == nil {
			path = found
			break
		}
	}
	if path == "" {
		t.Fatal("no chromium in PATH: run deploy/setup/test.sh")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox, // root has none
		chromedp.UserDataDir(t.TempDir()), chromedp.WSURLReadTimeout(time.Minute))
	allocator, stop := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, cancel := chromedp.NewContext(allocator)
	ctx, expire := context.WithTimeout(ctx, 3*time.Minute)
	t.Cleanup(func() {
		if err := chromedp.Cancel(ctx); err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("end chromium: %v", err)
		}
		expire()
		cancel()
		stop()
	})
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("start chromium: %v", err)
	}
	return &browser{ctx: ctx}
}

// look is how a page is looked at.
type look struct {
	width  int64
	scheme string // light, dark
}

// opened is a page in a tab of its own, and what it said and asked for meanwhile.
type opened struct {
	ctx context.Context

	mu    sync.Mutex
	said  []string
	asked []string
}

func (b *browser) open(t *testing.T, file string, l look) *opened {
	t.Helper()
	ctx, cancel := chromedp.NewContext(b.ctx)
	t.Cleanup(cancel)
	o := &opened{ctx: ctx}
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("open a tab: %v", err)
	}
	if err := chromedp.Listen(ctx, o.hear); err != nil {
		t.Fatal(err)
	}
	const height = 900
	call(t, ctx, log.Enable, cdp.Empty{})
	call(t, ctx, network.Enable, network.EnableParams{})
	call(t, ctx, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{
		Width: l.width, Height: height, DeviceScaleFactor: 1, Mobile: l.width < 600,
	})
	call(t, ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: l.scheme}},
	})
	if err := chromedp.Do(ctx, chromedp.Navigate((&url.URL{Scheme: "file", Path: file}).String()), chromedp.WaitReady("html[data-ready]")); err != nil {
		t.Fatalf("open %s: %v", file, err)
	}
	return o
}

func call[P, R any](t *testing.T, ctx context.Context, command cdp.Command[P, R], params P) R { //nolint:revive // t comes first in tests
	t.Helper()
	r, err := chromedp.Call(ctx, command, params)
	if err != nil {
		t.Fatalf("%s: %v", command.Method, err)
	}
	return r
}

func (o *opened) hear(event any) {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch e := event.(type) {
	case *runtime.EventConsoleAPICalled:
		for _, a := range e.Args {
			o.said = append(o.said, string(a.Value))
		}
	case *runtime.EventExceptionThrown:
		o.said = append(o.said, e.ExceptionDetails.Text)
	case *log.EventEntryAdded:
		o.said = append(o.said, e.Entry.Text)
	case *network.EventRequestWillBeSent:
		o.asked = append(o.asked, e.Request.URL)
	}
}

// wantQuiet fails for a message on the console, and for anything loaded beside the page.
func (o *opened) wantQuiet(t *testing.T) {
	t.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.said) > 0 {
		t.Errorf("console: %s", strings.Join(o.said, "; "))
	}
	if len(o.asked) != 1 {
		t.Errorf("the page asked for %q, want itself alone", o.asked)
	}
}

// evaluate runs an expression in the page.
func evaluate[T any](t *testing.T, o *opened, expression string) T {
	t.Helper()
	v, err := chromedp.Run(o.ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		t.Fatalf("evaluate %s: %v", expression, err)
	}
	return v
}

// keep saves a picture of the whole page among the test's artifacts.
func (o *opened) keep(t *testing.T, name string) {
	t.Helper()
	picture, err := chromedp.Run(o.ctx, chromedp.FullScreenshot(100))
	if err != nil {
		t.Fatalf("picture of %s: %v", name, err)
	}
	if err := os.WriteFile(filepath.Join(t.ArtifactDir(), name+".png"), picture, 0o600); err != nil {
		t.Fatal(err)
	}
}
