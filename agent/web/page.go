package web

import (
	"bytes"
	"fmt"
	"maps"
	"net/http"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"slices"
	"time"

	"github.com/go-kit/log/level"
	"github.com/prometheus/common/version"

	"github.com/opstrace/opstrace-agent/agent"
	"github.com/opstrace/opstrace-agent/agent/receive"
	"github.com/opstrace/opstrace-agent/agent/verdict"
)

// pageView is everything the page shows.
type pageView struct {
	Assets       string // path of the assets, relative to the page
	Now          time.Time
	Host         string
	Version      string
	Started      time.Time
	Verdict      verdict.Verdict
	Level        string // of the verdict: good, warn or bad
	Well         string // said where there are no problems
	Status       agent.Status
	Storage      storageView
	Destinations []destinationView
	In, Out      string // samples a second; In as one destination sees it
	Targets      targetsView
	Detail       *targetDetail
	MayFetch     bool // the target's answer may be shown
	Receives     bool // programs may send samples
	Senders      []receive.Sender
	Config       string
	ConfigError  string
	Flags        []setting
	Build        []setting
	Runtime      []setting
}

type setting struct{ Name, Value string }

// page answers /. It is whole without scripts; with them, it refreshes itself.
func (s *Server) page(w http.ResponseWriter, r *http.Request) {
	q := parseQuery(r.URL.Query())
	manager := s.opts.Agent.ScrapeManager()
	set := currentTargets(manager)
	v := s.view(time.Now(), s.opts.Agent.Status(), set, q)
	if manager != nil {
		v.Detail = explainTarget(set, q.Target, manager.ScrapePoolConfig)
		v.measureTargets(s.opts.Agent.LastScrape, s.opts.Agent.LastBody)
		v.MayFetch = s.mayFetch(r)
	}
	s.render(w, r, v)
}

// render executes the template before the header is sent, so that an error
// becomes one.
func (s *Server) render(w http.ResponseWriter, r *http.Request, v pageView) {
	var body bytes.Buffer
	if err := pageTemplate().Execute(&body, v); err != nil {
		level.Error(s.logger).Log("msg", "Cannot build the status page", "err", err)
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	if err := send(w, r, http.StatusOK, "text/html; charset=utf-8", body.Bytes()); err != nil {
		level.Debug(s.logger).Log("msg", "Cannot send the status page", "err", err)
	}
}

func (s *Server) view(now time.Time, st agent.Status, set targetSet, q query) pageView {
	v := pageView{
		Assets:  "assets/" + assetVersion,
		Now:     now,
		Version: version.Version,
		Started: s.born,
		Status:  st,
		Storage: viewStorage(st.Storage, s.history.storageGrowth),
		Targets: viewTargets(set, q),
		Flags:   settings(s.flags()),
		Build:   build(),
	}
	v.Receives, v.Senders = s.opts.Senders != nil, s.senders()
	v.Host, _ = os.Hostname()
	var in, out float64
	v.In, v.Out = "–", "–"
	titles := map[string]string{}
	for _, d := range st.Destinations {
		titles[d.Name] = d.URL
	}
	titles = verdict.Titles(titles)
	for _, d := range st.Destinations {
		dv := viewDestination(now, d, s.history.lastHour(now, d.Name, d.BacklogSamples))
		dv.judged(st.Verdict)
		dv.Title = titles[d.Name]
		v.Destinations = append(v.Destinations, dv)
		if dv.Hour.In.Line != "" {
			in, out = max(in, dv.Hour.In.Now), out+dv.Hour.Out.Now
			v.In, v.Out = formatRate(in), formatRate(out)
		}
	}
	slices.SortStableFunc(v.Destinations, func(a, b destinationView) int { return severity[b.Level] - severity[a.Level] })
	v.Verdict, v.Level = st.Verdict, sign(st.Verdict.Level)
	v.Storage.Evicting = slices.ContainsFunc(st.Verdict.Problems, func(p verdict.Problem) bool { return p.Kind == verdict.Evicting })
	v.Well = fmt.Sprintf("%s up to date, %s up.", plural(len(v.Destinations), "destination", "destinations"), plural(v.Targets.Total.Up, "target", "targets"))
	v.Runtime = s.runtime(now)
	text, err := s.configText()
	if err != nil {
		v.ConfigError = err.Error()
	}
	v.Config = text
	return v
}

// storageView is the storage as the page shows it.
type storageView struct {
	agent.StorageStatus
	Used     float64 // percent of the budget; 0 without one
	Evicting bool    // it was used up lately: a whole segment went, so that Used is less
	Bridges  string  // how long an outage
	Intake   string  // at which rate; empty while that is not known
}

func viewStorage(st agent.StorageStatus, growth func() (perSecond float64, known bool)) storageView {
	v := storageView{StorageStatus: st}
	if st.MaxBytes > 0 {
		v.Used = min(100, float64(st.Bytes)/float64(st.MaxBytes)*100)
	}
	perSecond, known := growth()
	v.Bridges = bridges(st, perSecond, known)
	if known && perSecond > 0 {
		v.Intake = formatBytes(int64(perSecond)) + "/s"
	}
	return v
}

func settings(m map[string]string) []setting {
	list := make([]setting, 0, len(m))
	for _, name := range slices.Sorted(maps.Keys(m)) {
		list = append(list, setting{name, m[name]})
	}
	return list
}

func build() []setting {
	return []setting{
		{"version", version.Version},
		{"revision", version.GetRevision()},
		{"branch", version.Branch},
		{"built", version.BuildDate},
		{"built by", version.BuildUser},
		{"Go", version.GoVersion},
		{"platform", version.GoOS + "/" + version.GoArch},
	}
}

func (s *Server) runtime(now time.Time) []setting {
	own := s.ownMetrics()
	heap := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/total:bytes"}}
	metrics.Read(heap)
	limit := "none"
	if l := debug.SetMemoryLimit(-1); l < 1<<62 {
		limit = formatBytes(l)
	}
	reload := "not yet"
	switch {
	case !own.reloaded.IsZero() && own.reloadSuccess:
		reload = ago(now, own.reloaded)
	case !own.reloaded.IsZero():
		reload = "the last reload failed; the configuration of " + ago(now, own.reloaded) + " is in force"
	}
	cwd, err := os.Getwd()
	if err != nil {
		cwd = "unknown"
	}
	list := []setting{
		{"started", formatStamp(s.born) + " (" + ago(now, s.born) + ")"},
		{"configuration loaded", reload},
		{"heap in use", formatBytes(int64(heap[0].Value.Uint64()))},
		{"memory of the Go runtime", formatBytes(int64(heap[1].Value.Uint64()))},
		{"GOMEMLIMIT", limit},
		{"GOMAXPROCS", formatCount(runtime.GOMAXPROCS(0))},
		{"goroutines", formatCount(runtime.NumGoroutine())},
		{"working directory", cwd},
	}
	if own.residentBytes > 0 {
		list = slices.Insert(list, 2, setting{"resident memory", formatBytes(own.residentBytes)})
	}
	if own.cpuSeconds > 0 {
		list = append(list, setting{"CPU time", formatDuration(time.Duration(own.cpuSeconds * float64(time.Second)))})
	}
	return list
}
