package web

import "net/http"

// unavailablePaths are what clients of Prometheus ask below /api/v1 and an agent
// cannot answer: it does not keep what it has delivered. A test holds them, and
// their methods, against upstream's.
var unavailablePaths = map[string][]string{
	"query":                       {"GET", "POST"},
	"query_range":                 {"GET", "POST"},
	"query_exemplars":             {"GET", "POST"},
	"format_query":                {"GET", "POST"},
	"parse_query":                 {"GET", "POST"},
	"labels":                      {"GET", "POST"},
	"label/{name}/values":         {"GET"},
	"series":                      {"GET", "POST"},
	"alertmanagers":               {"GET"},
	"status/tsdb":                 {"GET"},
	"status/tsdb/blocks":          {"GET"},
	"alerts":                      {"GET"},
	"rules":                       {"GET"},
	"admin/tsdb/delete_series":    {"POST", "PUT"},
	"admin/tsdb/clean_tombstones": {"POST", "PUT"},
	"admin/tsdb/snapshot":         {"POST", "PUT"},
}

// errUnavailable is upstream's answer, word for word: clients look at it to tell
// an agent from a server that is broken.
var errUnavailable = &apiError{http.StatusUnprocessableEntity, "execution", "unavailable with Prometheus Agent"}

func unavailable(*http.Request) (any, *apiError) { return nil, errUnavailable }
