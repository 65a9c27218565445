// Command draw shows what the dashboards' panels would: it runs a Prometheus
// over a feed that moves, asks it each panel's queries, draws the answers and
// has headless Chromium take a picture. Grafana is not needed, nor imitated in
// more than the data, the units and the grid: what it is for is to see panels
// that are empty or absurd. The exit status is 1 where a panel has no data.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"

	"github.com/vethtrace/vethtrace/exporter/grafana"
	"github.com/vethtrace/vethtrace/exporter/grafana/internal/feed"
)

func main() {
	if err := run(context.Background(), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "draw:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) (err error) {
	flags := flag.NewFlagSet("draw", flag.ContinueOnError)
	out := flags.String("o", "", "directory for the pictures")
	classic := flags.Bool("classic", false, "classic histograms in place of native ones")
	wait := flags.Duration("wait", 30*time.Second, "how long to feed before drawing")
	if err := flags.Parse(args); err != nil {
		return fmt.Errorf("read the command line: %w", err)
	}
	if *out == "" {
		return errors.New("-o is needed: a directory for the pictures")
	}
	dir, err := os.MkdirTemp("", "vethtrace-draw")
	if err != nil {
		return fmt.Errorf("make a directory for prometheus: %w", err)
	}
	defer os.RemoveAll(dir)
	server, err := feed.Start(ctx, feed.Config{Dir: dir, Native: !*classic, Source: feed.NewMoving(*wait * 2 / 3)})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.Close()) }()
	begin := time.Now()
	time.Sleep(*wait)
	a := asker{server: server, native: !*classic, from: begin.Add(6 * time.Second), to: time.Now()}
	files, err := grafana.Files()
	if err != nil {
		return err
	}
	var empty []string
	for _, f := range files {
		none, err := a.draw(ctx, f, *out)
		if err != nil {
			return err
		}
		empty = append(empty, none...)
	}
	if len(empty) > 0 {
		return fmt.Errorf("nothing to draw in %s", strings.Join(empty, "; "))
	}
	return nil
}

// asker asks for the data of panels.
type asker struct {
	server   *feed.Server
	native   bool
	from, to time.Time
}

// draw makes the picture of one dashboard, and returns which panels are empty.
func (a asker) draw(ctx context.Context, f grafana.File, out string) (empty []string, err error) {
	page := newPage(*f.Dashboard.Title)
	for _, p := range f.Dashboard.Panels {
		if p.RowPanel != nil {
			page.row(*p.RowPanel.Title, p.RowPanel.GridPos)
			continue
		}
		lines, err := a.lines(ctx, p.Panel)
		if err != nil {
			return nil, err
		}
		if len(lines) == 0 {
			empty = append(empty, f.Name+": "+*p.Panel.Title)
		}
		page.panel(p.Panel, lines)
	}
	html := filepath.Join(out, strings.TrimSuffix(f.Name, ".json")+".html")
	if err := os.WriteFile(html, page.html(), 0o644); err != nil {
		return nil, fmt.Errorf("write the page: %w", err)
	}
	return empty, photograph(ctx, html, page.height())
}

// lines are those of all queries, named by their legends.
func (a asker) lines(ctx context.Context, p *dashboard.Panel) ([]feed.Line, error) {
	choice := grafana.Choice{Native: a.native, Interval: 4 * time.Second}
	var all []feed.Line
	for _, target := range p.Targets {
		q, ok := target.(prometheus.Dataquery)
		if !ok {
			return nil, fmt.Errorf("%s: a query of %T", *p.Title, target)
		}
		lines, err := a.server.Query(ctx, choice.Substitute(q.Expr), a.from, a.to, time.Second)
		if err != nil {
			return nil, err
		}
		for i := range lines {
			name := *q.LegendFormat
			for label, value := range lines[i].Labels {
				name = strings.ReplaceAll(name, "{{"+label+"}}", value)
			}
			lines[i].Labels = map[string]string{"": name, "le": lines[i].Labels["le"]}
		}
		all = append(all, lines...)
	}
	return all, nil
}

// photograph has Chromium make a picture beside the page.
func photograph(ctx context.Context, html string, height int) error {
	path, err := filepath.Abs(html)
	if err != nil {
		return fmt.Errorf("find the page: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	picture := strings.TrimSuffix(path, ".html") + ".png"
	profile, err := os.MkdirTemp("", "vethtrace-chromium")
	if err != nil {
		return fmt.Errorf("make a profile for chromium: %w", err)
	}
	defer os.RemoveAll(profile)
	cmd := exec.CommandContext(ctx, "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
		"--user-data-dir="+profile, fmt.Sprintf("--window-size=%d,%d", pageWidth, height), "--screenshot="+picture, "file://"+path)
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("photograph %s: %w: %s", html, err, text)
	}
	return nil
}
