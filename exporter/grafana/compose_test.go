package grafana

import (
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v2"

	"github.com/vethtrace/vethtrace/exporter/serve"
)

const composeDir = "../../deploy/compose"

// service is all that a service of the compose file says: what is not here fails.
type service struct {
	Image         string
	Build         struct{ Context, Dockerfile string }
	Command       []string
	Environment   map[string]string
	Volumes       []string
	NetworkMode   string `yaml:"network_mode"`
	PID           string
	CapDrop       []string `yaml:"cap_drop"`
	CapAdd        []string `yaml:"cap_add"`
	SecurityOpt   []string `yaml:"security_opt"`
	ReadOnly      bool     `yaml:"read_only"`
	Restart       string
	mounted       map[string]string // what of the machine or of the volumes, by place in the container
	mountedByName map[string]bool   // volumes
}

type composeFile struct {
	Name     string
	Services map[string]*service
	Volumes  map[string]any
}

type datasources struct {
	APIVersion  int `yaml:"apiVersion"`
	Datasources []struct {
		Name, UID, Type, Access, URL string
		IsDefault                    bool `yaml:"isDefault"`
		JSONData                     struct {
			TimeInterval string      `yaml:"timeInterval"`
			HTTPMethod   string      `yaml:"httpMethod"`
			Exemplars    []exemplars `yaml:"exemplarTraceIdDestinations"`
		} `yaml:"jsonData"`
	}
}

// exemplars say where a label of them leads.
type exemplars struct {
	Name, URL string
	Label     string `yaml:"urlDisplayLabel"`
}

type providers struct {
	APIVersion int `yaml:"apiVersion"`
	Providers  []struct {
		Name, Folder, Type string
		Options            struct{ Path string }
	}
}

type prometheusConfig struct {
	Global        map[string]string
	RuleFiles     []string `yaml:"rule_files"`
	ScrapeConfigs []struct {
		JobName       string `yaml:"job_name"`
		StaticConfigs []struct {
			Targets []string
		} `yaml:"static_configs"`
	} `yaml:"scrape_configs"`
}

func readYAML(t *testing.T, file string, into any) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(composeDir, file))
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.UnmarshalStrict(text, into); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
}

func readCompose(t *testing.T) composeFile {
	t.Helper()
	var file composeFile
	readYAML(t, "compose.yaml", &file)
	if len(file.Services) != 3 {
		t.Fatalf("services %v", file.Services)
	}
	for _, s := range file.Services {
		s.mounted, s.mountedByName = map[string]string{}, map[string]bool{}
		for _, v := range s.Volumes {
			parts := strings.Split(v, ":")
			s.mounted[parts[1]] = parts[0]
			s.mountedByName[parts[0]] = !strings.ContainsAny(parts[0], "./")
		}
	}
	return file
}

// behind is the file of the repository that a container sees at a place, through what is mounted there or above.
func (s *service) behind(t *testing.T, place string) string {
	t.Helper()
	for at := place; at != "/"; at = path.Dir(at) {
		if from, ok := s.mounted[at]; ok {
			return filepath.Join(composeDir, from, strings.TrimPrefix(place, at))
		}
	}
	t.Errorf("nothing is mounted at %s", place)
	return ""
}

// flag is the value of a service's own flag.
func (s *service) flag(t *testing.T, name string) string {
	t.Helper()
	for _, argument := range s.Command {
		if value, ok := strings.CutPrefix(argument, name+"="); ok {
			return value
		}
	}
	t.Errorf("no %s in %v", name, s.Command)
	return ""
}

var pinned = regexp.MustCompile(`^[a-z]+/[a-z]+:v?\d+\.\d+\.\d+$`)

// Everything that a service is made of is there: a released image or a
// Dockerfile whose parts exist, files of the repository, volumes that are declared.
func TestComposeNamesWhatThereIs(t *testing.T) {
	file := readCompose(t)
	machine := []string{"/var/run/docker.sock", "/sys/fs/cgroup"}
	used := map[string]bool{}
	for name, s := range file.Services {
		if (s.Image == "") == (s.Build.Context == "") || s.Image != "" && !pinned.MatchString(s.Image) {
			t.Errorf("%s: image %q, build %q: want one of them, the image with its version", name, s.Image, s.Build.Context)
		}
		if s.NetworkMode != "host" || s.Restart == "" {
			t.Errorf("%s cannot reach the others' loopback, or does not come back", name)
		}
		for place, from := range s.mounted {
			_, declared := file.Volumes[from]
			switch {
			case s.mountedByName[from]:
				used[from] = true
				if !declared {
					t.Errorf("%s: volume %s is not declared", name, from)
				}
			case strings.HasPrefix(from, "."):
				if _, err := os.Stat(filepath.Join(composeDir, from)); err != nil {
					t.Errorf("%s: %s: %v", name, place, err)
				}
			case !slices.Contains(machine, from):
				t.Errorf("%s: %s of the machine is mounted: is it on each?", name, from)
			}
		}
	}
	for volume := range file.Volumes {
		if !used[volume] {
			t.Errorf("nobody uses the volume %s", volume)
		}
	}
	checkDockerfile(t, file.Services["vethtrace"])
}

// checkDockerfile: what it copies is there, its Go is that of go.mod, what it starts is what it built.
func checkDockerfile(t *testing.T, s *service) {
	t.Helper()
	root := filepath.Join(composeDir, s.Build.Context)
	text, err := os.ReadFile(filepath.Join(root, s.Build.Dockerfile))
	if err != nil {
		t.Fatal(err)
	}
	mod, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	version := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindSubmatch(mod)
	if !strings.Contains(string(text), "FROM golang:"+string(version[1])+" ") {
		t.Errorf("go.mod says Go %s, the Dockerfile another one", version[1])
	}
	output := regexp.MustCompile(`go build .*-o (\S+) (\S+)`).FindStringSubmatch(string(text))
	if output == nil || !strings.Contains(string(text), `ENTRYPOINT ["`+output[1]+`"]`) {
		t.Errorf("what is built (%v) is not what is started", output)
	} else if _, err := os.Stat(filepath.Join(root, output[2], "main.go")); err != nil {
		t.Error(err)
	}
	for _, line := range regexp.MustCompile(`(?m)^COPY ([^-].*) \S+$`).FindAllStringSubmatch(string(text), -1) {
		for source := range strings.FieldsSeq(line[1]) {
			if _, err := os.Stat(filepath.Join(root, source)); err != nil {
				t.Error(err)
			}
		}
	}
}

// Addresses that one part names are those that another one listens on: no two
// of them alike, none reached by other machines, those of the docs.
func TestComposeAddressesFit(t *testing.T) {
	file := readCompose(t)
	var sources datasources
	readYAML(t, "provisioning/datasources/prometheus.yml", &sources)
	var config prometheusConfig
	readYAML(t, "prometheus.yml", &config)
	grafana := file.Services["grafana"].Environment
	prometheus := file.Services["prometheus"].flag(t, "--web.listen-address")
	if asked := strings.TrimPrefix(sources.Datasources[0].URL, "http://"); asked != prometheus {
		t.Errorf("prometheus listens on %s, Grafana asks %s", prometheus, asked)
	}
	exporters := config.ScrapeConfigs[0].StaticConfigs[0].Targets
	if !slices.Equal(exporters, []string{serve.DefaultAddress}) || config.ScrapeConfigs[0].JobName != "vethtrace" {
		t.Errorf("prometheus scrapes %v as %s, vethtrace listens on %s", exporters, config.ScrapeConfigs[0].JobName, serve.DefaultAddress)
	}
	if every, told := config.Global["scrape_interval"], sources.Datasources[0].JSONData.TimeInterval; every != told {
		t.Errorf("scraped every %s, Grafana is told %s", every, told)
	}
	leads := sources.Datasources[0].JSONData.Exemplars
	if len(leads) != 1 || leads[0].Name != "journey_id" || leads[0].URL != "http://"+serve.DefaultAddress+"/journeys?id=$${__value.raw}" {
		t.Errorf("exemplars lead to %v", leads)
	}
	docs, err := os.ReadFile("../../docs/dashboards.md")
	if err != nil {
		t.Fatal(err)
	}
	shown := net.JoinHostPort(grafana["GF_SERVER_HTTP_ADDR"], grafana["GF_SERVER_HTTP_PORT"])
	seen := map[string]bool{}
	for _, one := range []string{prometheus, shown, serve.DefaultAddress} {
		if host, _, err := net.SplitHostPort(one); err != nil || !net.ParseIP(host).IsLoopback() {
			t.Errorf("%s is reached by others: %v", one, err)
		}
		if seen[one] {
			t.Errorf("two listen on %s", one)
		}
		seen[one] = true
		if one != serve.DefaultAddress && !strings.Contains(string(docs), "http://"+one) {
			t.Errorf("the docs do not know %s", one)
		}
	}
}

// Grafana finds the committed dashboards and no others, and they ask the source that is provisioned.
func TestComposeProvisionsTheDashboards(t *testing.T) {
	grafana := readCompose(t).Services["grafana"]
	for _, part := range []string{"datasources/prometheus.yml", "dashboards/vethtrace.yml"} {
		if _, err := os.Stat(grafana.behind(t, "/etc/grafana/provisioning/"+part)); err != nil {
			t.Error(err)
		}
	}
	var from providers
	readYAML(t, "provisioning/dashboards/vethtrace.yml", &from)
	dir := grafana.behind(t, from.Providers[0].Options.Path)
	have, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, f := range allFiles(t) {
		want = append(want, filepath.Join(dir, f.Name))
	}
	if slices.Sort(want); !slices.Equal(have, want) {
		t.Errorf("Grafana finds %v, want %v", have, want)
	}
	var sources datasources
	readYAML(t, "provisioning/datasources/prometheus.yml", &sources)
	source := sources.Datasources[0]
	if !source.IsDefault || source.UID == "" {
		t.Error("the source is not the one that dashboards begin with")
	}
	for _, file := range have {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var d any
		if err := json.Unmarshal(text, &d); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		checkSources(t, file, d, source.UID, source.Type)
	}
}

// checkSources looks at each datasource that a dashboard names, wherever it does.
func checkSources(t *testing.T, file string, of any, uid, kind string) {
	t.Helper()
	switch of := of.(type) {
	case []any:
		for _, one := range of {
			checkSources(t, file, one, uid, kind)
		}
	case map[string]any:
		if named, ok := of["datasource"].(map[string]any); ok {
			if named["type"] != kind || named["uid"] != "${datasource}" && named["uid"] != uid {
				t.Errorf("%s asks %v, there is %s of type %s", file, named, uid, kind)
			}
		}
		if of["type"] == "datasource" && of["query"] != kind {
			t.Errorf("%s lets choose among sources of type %v", file, of["query"])
		}
		for _, one := range of {
			checkSources(t, file, one, uid, kind)
		}
	}
}

// Prometheus is started with flags that it knows, and its configuration holds with the rules that are mounted.
func TestComposeStartsPrometheus(t *testing.T) {
	prometheus := readCompose(t).Services["prometheus"]
	help, err := exec.Command("prometheus", "--help").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, help)
	}
	for _, argument := range prometheus.Command {
		if name, _, _ := strings.Cut(argument, "="); !strings.Contains(string(help), name+"=") {
			t.Errorf("prometheus knows no %s", name)
		}
	}
	if !strings.Contains(prometheus.flag(t, "--enable-feature"), "native-histograms") {
		t.Error("native histograms are not kept")
	}
	if !strings.Contains(prometheus.flag(t, "--enable-feature"), "exemplar-storage") {
		t.Error("exemplars are not kept")
	}
	if data := prometheus.mounted[prometheus.flag(t, "--storage.tsdb.path")]; !prometheus.mountedByName[data] {
		t.Errorf("data is kept in %q, which is no volume", data)
	}
	config := prometheus.behind(t, prometheus.flag(t, "--config.file"))
	text, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	var read prometheusConfig
	readYAML(t, "prometheus.yml", &read)
	moved := string(text)
	for _, rules := range read.RuleFiles {
		here, err := filepath.Abs(prometheus.behind(t, rules))
		if err != nil {
			t.Fatal(err)
		}
		moved = strings.ReplaceAll(moved, rules, here)
	}
	file := filepath.Join(t.TempDir(), "prometheus.yml")
	if err := os.WriteFile(file, []byte(moved), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("promtool", "check", "config", file).CombinedOutput()
	if err != nil || strings.Count(string(out), "rules found") != len(read.RuleFiles) || len(read.RuleFiles) == 0 {
		t.Errorf("promtool: %v\n%s", err, out)
	}
}
