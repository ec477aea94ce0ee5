package agent_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/metadata"

	"github.com/opstrace/opstrace-agent/agent"
	"github.com/opstrace/opstrace-agent/agent/agenttest"
	"github.com/opstrace/opstrace-agent/agent/delivery"
)

// TestMetadata: with metadata-wal-records, type, unit and help of a scraped metric
// reach a receiver of remote write 2.0, whether it is live or gets a backlog.
func TestMetadata(t *testing.T) {
	t.Parallel()
	target := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/openmetrics-text; version=1.0.0; charset=utf-8")
		_, _ = io.WriteString(w, "# TYPE water_celsius gauge\n# UNIT water_celsius celsius\n# HELP water_celsius How warm it is.\nwater_celsius 21\n# EOF\n")
	}))
	t.Cleanup(target.Close)
	manners := agenttest.Manners{RemoteWrite2: agenttest.AcceptRemoteWrite2}
	r := newRig(t, manners)
	r.options.Features = agent.Features{MetadataWALRecords: true}
	r.options.MinStay = patience // the one that is behind stays so
	drained, err := agenttest.NewEndpoint(agenttest.Options{Manners: manners})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(drained.Close)
	const v2 = "    protobuf_message: io.prometheus.write.v2.Request\n"
	r.writes = r.write("live", r.endpoint, v2) + r.write("drained", drained, v2)
	r.jobs = fmt.Sprintf("  - job_name: water\n    static_configs: [{targets: [%q]}]\n", strings.TrimPrefix(target.URL, "http://"))
	drained.Respond(agenttest.EmptyRing()) // takes nothing while it is live
	r.start()
	r.awaitState("live", delivery.Live)
	r.eventually("a refusal to take it behind", func() error {
		if s := r.destination("drained"); s.State != delivery.Behind || s.Why == "" {
			return fmt.Errorf("it is %s", s.State)
		}
		return nil
	})
	drained.Recover()
	want := metadata.Metadata{Type: model.MetricTypeGauge, Unit: "celsius", Help: "How warm it is."}
	for name, e := range map[string]*agenttest.Endpoint{"live": r.endpoint, "drained": drained} {
		r.eventually("the metadata to reach "+name, func() error {
			if got := e.Snapshot().Metadata()["water_celsius"]; got != want {
				return fmt.Errorf("it is %+v", got)
			}
			return nil
		})
	}
	if s := r.destination("drained"); s.State != delivery.Behind {
		t.Errorf("it is %s", s.State)
	}
}
