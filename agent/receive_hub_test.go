package agent_test

import (
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/storage/remote"
	upstream "github.com/prometheus/prometheus/tsdb/agent"

	"github.com/opstrace/opstrace-agent/agent/agenttest"
	"github.com/opstrace/opstrace-agent/agent/delivery"
	"github.com/opstrace/opstrace-agent/agent/delivery/ledger"
)

// TestChain: a device sends to a hub, which sends to the endpoint. Either is killed, stopped,
// or cut off from the next: nothing is lost, and the two ledgers tell the same.
func TestChain(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"1.0", "2.0"} {
		for _, synced := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, sync %v", version, synced), func(t *testing.T) {
				t.Parallel()
				hub := newRig(t, agenttest.Manners{})
				hub.options.Address, hub.options.Receive.Sync = free(t), synced
				device := newRig(t, agenttest.Manners{})
				device.writes = fmt.Sprintf(`  - name: hub
    url: http://%s/api/v1/write
    remote_timeout: 5s
    queue_config: {batch_send_deadline: 300ms, min_backoff: 30ms, max_backoff: 200ms, max_samples_per_send: 500, capacity: 2500}
    metadata_config: {send: false}
`, hub.options.Address)
				if version == "2.0" {
					device.writes += "    protobuf_message: io.prometheus.write.v2.Request\n"
				}
				target := device.targets.Add("one", agenttest.TargetOptions{Series: 20, Histograms: 2, Exemplars: true})
				hub.start()
				device.start()
				for round := range 3 {
					device.awaitScrapes(target, 3)
					hub.kill()
					device.awaitScrapes(target, 2)
					hub.start()
					device.awaitScrapes(target, 2)
					device.kill()
					hub.outage(func() {
						device.start()
						device.awaitScrapes(target, 3)
						if round == 1 {
							hub.stop()
							device.awaitScrapes(target, 2)
							device.stop()
							device.start()
							hub.start()
						}
					})
				}
				device.awaitScrapes(target, 2)
				defer func() {
					if t.Failed() {
						t.Logf("device %+v\nhub %+v", device.destination("hub").Ledger, hub.destination("one").Ledger)
					}
				}()
				device.awaitAll(hub.endpoint, target)
				device.awaitState("hub", delivery.Live)
				device.stop()
				hub.eventually("all to be delivered", func() error {
					l := hub.destination("one").Ledger
					if l.OnDisk > 0 || l.Delivered+ledger.Total(l.Uncertain) != l.Appended {
						return fmt.Errorf("%+v", l)
					}
					return nil
				})
			})
		}
	}
}

// prometheusAgent is the storage and the queue of `prometheus --agent`, which sends to an
// address.
func prometheusAgent(t *testing.T, address, message string) storage.Appendable {
	t.Helper()
	dir, logger := t.TempDir(), slog.New(slog.DiscardHandler)
	send := remote.NewStorage(logger, prometheus.NewRegistry(), func() (int64, error) { return 0, nil }, dir, time.Second, nil, false)
	db, err := upstream.Open(logger, prometheus.NewRegistry(), send, dir, upstream.DefaultOptions())
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load(fmt.Sprintf(`remote_write:
  - url: http://%s/api/v1/write
    protobuf_message: %s
    remote_timeout: 5s
    queue_config: {batch_send_deadline: 100ms, min_backoff: 30ms, max_backoff: 200ms, max_shards: 1}
    metadata_config: {send: false}
`, address, message), logger)
	if err != nil {
		t.Fatal(err)
	}
	if err := send.ApplyConfig(cfg); err != nil {
		t.Fatal(err)
	}
	db.SetWriteNotified(send)
	t.Cleanup(func() {
		_ = db.Close()
		_ = send.Close()
	})
	return db
}

// TestPrometheusSends: what upstream's own queue sends arrives, whatever becomes of the
// agent meanwhile.
func TestPrometheusSends(t *testing.T) {
	t.Parallel()
	for _, message := range []string{"prometheus.WriteRequest", "io.prometheus.write.v2.Request"} {
		t.Run(message, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, agenttest.Manners{})
			r.options.Address = free(t)
			r.start()
			db := prometheusAgent(t, r.options.Address, message)
			var sent []pushed
			scrapes := func() {
				for range 10 {
					at := seriesAt(time.Now(), 0, 20)
					app := db.Appender(t.Context())
					for _, p := range at {
						if _, err := app.Append(0, p.labels, p.t.UnixMilli(), p.v); err != nil {
							t.Fatal(err)
						}
					}
					if err := app.Commit(); err != nil {
						t.Fatal(err)
					}
					sent = append(sent, at...)
					time.Sleep(20 * time.Millisecond) // a scrape interval
				}
			}
			// What was there before its queue has begun, Prometheus does not send.
			r.eventually("the queue to have begun", func() error {
				scrapes()
				sent = nil
				if r.endpoint.Snapshot().Accepted == 0 {
					return errors.New("nothing has arrived")
				}
				return nil
			})
			for range 3 {
				scrapes()
				r.kill()
				scrapes()
				r.start()
				scrapes()
				r.outage(func() {
					scrapes()
					r.stop()
					r.options.MinFreeBytes = 1 << 60
					r.start()
					scrapes() // the disk is full
					r.stop()
					r.options.MinFreeBytes = 0
					r.start()
					scrapes()
				})
			}
			r.awaitPushed(sent)
			if err := r.endpoint.Snapshot().CheckInOrder(); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestTenantOfASender: the label of the tenant is what a sender names in the header,
// whatever it calls so itself, and destinations are chosen by it.
func TestTenantOfASender(t *testing.T) {
	t.Parallel()
	r := newRig(t, agenttest.Manners{})
	staging, err := agenttest.NewEndpoint(agenttest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(staging.Close)
	r.writes += r.write("staging", staging, "    write_relabel_configs: [{source_labels: [__tenant__], regex: staging, action: keep}, {regex: __tenant__, action: labeldrop}]\n")
	r.options.Receive.TenantLabel = "__tenant__"
	r.start()
	at := time.Now()
	tenants := []string{"staging", "prod", ""}
	var sent []pushed
	for i, tenant := range tenants {
		p := pushed{labels.FromStrings("__name__", "pushed", "i", strconv.Itoa(i), "__tenant__", "forged"), at, float64(i)}
		for _, version := range []string{"1.0", "2.0"} {
			if a := r.pushAs(tenant, version, []pushed{p}); a.code != 204 {
				t.Fatalf("%d %q", a.code, a.body)
			}
		}
		sent = append(sent, p)
	}
	r.awaitPushed(sent)
	byName := labels.MustNewMatcher(labels.MatchEqual, "__name__", "pushed")
	for _, s := range r.endpoint.Snapshot().Series(byName) {
		i, _ := strconv.Atoi(s.Labels.Get("i"))
		if got := s.Labels.Get("__tenant__"); got != tenants[i] || s.Labels.Has("__tenant__") != (got != "") {
			t.Errorf("%s, of tenant %q", s.Labels, tenants[i])
		}
	}
	r.eventually("the tenant's own to arrive", func() error {
		all := staging.Snapshot().Series(byName)
		if len(all) != 1 || all[0].Labels.Get("i") != "0" || all[0].Labels.Has("__tenant__") {
			return fmt.Errorf("%+v", all)
		}
		return nil
	})
	r.eventually("the others to be filtered", func() error {
		if l := r.destination("staging").Ledger; l.Delivered != 1 || ledger.Total(l.Filtered) != 2 {
			return fmt.Errorf("%+v", l)
		}
		return nil
	})
}
