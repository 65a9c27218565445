package grafana

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v2"

	"github.com/vethtrace/vethtrace/exporter/serve"
)

const composeDir = "../../deploy/compose"

func readYAML(t *testing.T, file string, into any) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(composeDir, file))
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(text, into); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
}

// TestComposeFitsTogether: addresses and files that one part names are those of the other.
func TestComposeFitsTogether(t *testing.T) {
	var compose struct {
		Services map[string]struct {
			Command     []string
			Environment map[string]string
			Volumes     []string
			NetworkMode string `yaml:"network_mode"`
		}
	}
	readYAML(t, "compose.yaml", &compose)
	mounted := map[string]string{} // in containers, by place there
	for name, s := range compose.Services {
		if s.NetworkMode != "host" {
			t.Errorf("%s cannot reach the others' loopback", name)
		}
		for _, v := range s.Volumes {
			from, to, _ := strings.Cut(strings.TrimSuffix(v, ":ro"), ":")
			mounted[to] = from
			if strings.HasPrefix(from, ".") {
				if _, err := os.Stat(filepath.Join(composeDir, from)); err != nil {
					t.Error(err)
				}
			}
		}
	}
	prometheus := strings.Join(compose.Services["prometheus"].Command, " ")
	var sources struct {
		Datasources []struct{ URL, UID, Type string }
	}
	readYAML(t, "provisioning/datasources/prometheus.yml", &sources)
	address := strings.TrimPrefix(sources.Datasources[0].URL, "http://")
	if !strings.Contains(prometheus, "--web.listen-address="+address) || !strings.Contains(prometheus, "native-histograms") {
		t.Errorf("prometheus is started by %s, Grafana asks %s", prometheus, address)
	}
	grafana := compose.Services["grafana"].Environment
	for _, one := range []string{address, serve.DefaultAddress, net.JoinHostPort(grafana["GF_SERVER_HTTP_ADDR"], grafana["GF_SERVER_HTTP_PORT"])} {
		if host, _, err := net.SplitHostPort(one); err != nil || !net.ParseIP(host).IsLoopback() {
			t.Errorf("%s is reached by others: %v", one, err)
		}
	}
	var providers struct {
		Providers []struct{ Options struct{ Path string } }
	}
	readYAML(t, "provisioning/dashboards/vethtrace.yml", &providers)
	dir := filepath.Join(composeDir, mounted[providers.Providers[0].Options.Path])
	for _, f := range allFiles(t) {
		if _, err := os.Stat(filepath.Join(dir, f.Name)); err != nil {
			t.Error(err)
		}
	}
	checkPrometheusConfig(t, mounted)
}

func checkPrometheusConfig(t *testing.T, mounted map[string]string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(composeDir, "prometheus.yml"))
	if err != nil {
		t.Fatal(err)
	}
	const place = "/etc/prometheus/rules/vethtrace.yml"
	rules, err := filepath.Abs(filepath.Join(composeDir, mounted[place]))
	if err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(t.TempDir(), "prometheus.yml")
	if err := os.WriteFile(config, []byte(strings.ReplaceAll(string(text), place, rules)), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("promtool", "check", "config", config).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "rules found") {
		t.Errorf("promtool: %v\n%s", err, out)
	}
	if !strings.Contains(string(text), serve.DefaultAddress) {
		t.Errorf("prometheus does not scrape %s", serve.DefaultAddress)
	}
}
