package upstreamqueue

import (
	"errors"
	"fmt"

	"github.com/prometheus/prometheus/config"
)

// countable reports what in cfg would make a queue send other items, or in
// another order, than one reads in the WAL.
func countable(cfg *config.RemoteWriteConfig) error {
	queue := cfg.QueueConfig
	switch {
	case cfg.Name == "":
		return errors.New("a queue needs a name")
	case cfg.URL == nil || cfg.URL.URL == nil:
		return fmt.Errorf("queue %q has no URL", cfg.Name)
	case queue.MinShards != 1 || queue.MaxShards != 1:
		return fmt.Errorf("queue %q must have one shard, not %d to %d: several send in no order", cfg.Name, queue.MinShards, queue.MaxShards)
	case queue.SampleAgeLimit != 0:
		return fmt.Errorf("queue %q must have no sample_age_limit: what it drops is not told", cfg.Name)
	case cfg.ConvertNHCBToClassic:
		return fmt.Errorf("queue %q must not convert_nhcb_to_classic: one sample of the WAL would become many", cfg.Name)
	}
	return nil
}
