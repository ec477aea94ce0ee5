package web

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"

	"google.golang.org/protobuf/encoding/protojson"
)

// selfMetrics answers /api/v1/status/self_metrics?metric_name_pattern=REGEXP.
func (s *Server) selfMetrics(r *http.Request) (any, *apiError) {
	wanted := func(string) bool { return true }
	if pattern := r.FormValue("metric_name_pattern"); pattern != "" {
		re, err := regexp.Compile("^(?:" + pattern + ")$")
		if err != nil {
			return nil, badData("invalid metric_name_pattern: " + err.Error())
		}
		wanted = re.MatchString
	}
	families, err := s.gatherer.Gather()
	if err != nil && len(families) == 0 { // as /metrics: one broken collector hides only its own
		return nil, &apiError{http.StatusInternalServerError, "internal", "error gathering self metrics: " + err.Error()}
	}
	res := make([]json.RawMessage, 0, len(families))
	for _, f := range families {
		if !wanted(f.GetName()) {
			continue
		}
		b, err := protojson.Marshal(f)
		if err != nil {
			return nil, &apiError{http.StatusInternalServerError, "internal", fmt.Sprintf("error marshaling metric family %q: %s", f.GetName(), err)}
		}
		res = append(res, b)
	}
	return res, nil
}
