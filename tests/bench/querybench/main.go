// SPDX-License-Identifier: Apache-2.0
// querybench: latency of Tempo-API queries over data stored by loadgen (Go stdlib only).
//   go run querybench.go -url http://127.0.0.1:3200 -t0 UNIX -window 600 -traces 125000 -n 50 -conns 1
package main

import (
	"encoding/binary"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

func sm(x *uint64) uint64 {
	*x += 0x9E3779B97F4A7C15
	z := *x
	z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9
	z = (z ^ (z >> 27)) * 0x94D049BB133111EB
	return z ^ (z >> 31)
}
func traceID(t int) string {
	x := uint64(t) * 0x2545F4914F6CDD1D
	b := make([]byte, 16)
	binary.BigEndian.PutUint64(b, sm(&x)|1<<63)
	binary.BigEndian.PutUint64(b[8:], sm(&x))
	return fmt.Sprintf("%x", b)
}

func main() {
	base := flag.String("url", "http://127.0.0.1:3200", "query base URL")
	t0 := flag.Int64("t0", 0, "t0 printed by loadgen")
	window := flag.Int64("window", 600, "window of loadgen")
	traces := flag.Int("traces", 125000, "number of stored traces")
	n := flag.Int("n", 50, "runs per query")
	conns := flag.Int("conns", 1, "concurrent clients")
	only := flag.String("only", "", "regexp over the query names")
	bust := flag.Bool("bust", false, "make every query text unique (adds && name != \"bust<i>\" to the first { }) so that result caches cannot answer")
	budget := flag.Float64("budget", 60, "seconds per query at most")
	flag.Parse()
	cl := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: *conns}, Timeout: 60 * time.Second}
	B := func(q string, i int) string {
		if !*bust {
			return q
		}
		if strings.HasPrefix(q, "{}") {
			return fmt.Sprintf("{ name != `bust%d` }", i) + q[2:]
		}
		k := strings.Index(q, " }")
		return q[:k] + fmt.Sprintf(" && name != `bust%d`", i) + q[k:]
	}
	S := func(q string) func(int) string {
		return func(i int) string {
			q := B(q, i)
			return fmt.Sprintf("/api/search?q=%s&start=%d&end=%d&limit=20&spss=3", url.QueryEscape(q), *t0-5, *t0+*window+10)
		}
	}
	M := func(q string, step int) func(int) string {
		return func(i int) string {
			q := B(q, i)
			return fmt.Sprintf("/api/metrics/query_range?q=%s&start=%d&end=%d&step=%ds", url.QueryEscape(q), *t0, *t0+*window, step)
		}
	}
	qs := []struct {
		name string
		f    func(int) string
	}{
		{"trace_by_id_v2", func(i int) string { return "/api/v2/traces/" + traceID(i*7919%*traces) }},
		{"trace_by_id_missing", func(i int) string { return fmt.Sprintf("/api/v2/traces/%032x", 0x7000000+i) }},
		{"search_recent_all", S("{}")},
		{"search_service", S(`{ resource.service.name = "api" }`)},
		{"search_error_500", S(`{ span.http.response.status_code = 500 && resource.service.name = "nginx" }`)},
		{"search_slow_db", S(`{ span.db.system.name = "postgresql" && duration > 600ms }`)},
		{"search_no_match", S(`{ span.http.route = "/nosuch" }`)},
		{"search_rare_path_regex", S(`{ span.url.path =~ "/orders/1234.*" }`)},
		{"search_structural", S(`{ resource.service.name = "nginx" && status = error } >> { span.db.operation.name = "UPDATE" }`)},
		{"search_count", S(`{ kind = client } | count() > 2`)},
		{"search_most_recent", S(`{ status = error } with (most_recent=true)`)},
		{"metrics_rate_by_service", M(`{} | rate() by (resource.service.name)`, 15)},
		{"metrics_error_rate", M(`{ status = error } | rate()`, 15)},
		{"metrics_quantile", M(`{ kind = server } | quantile_over_time(duration, .5, .99) by (span.http.route)`, 15)},
		{"metrics_histogram", M(`{ nestedSetParent < 0 } | histogram_over_time(duration)`, 15)},
		{"tags_v2", func(int) string { return fmt.Sprintf("/api/v2/search/tags?start=%d&end=%d", *t0, *t0+*window) }},
		{"tag_values_v2", func(int) string { return fmt.Sprintf("/api/v2/search/tag/span.http.route/values?start=%d&end=%d", *t0, *t0+*window) }},
		{"tag_values_v2_filtered", func(int) string { return fmt.Sprintf("/api/v2/search/tag/span.db.operation.name/values?q=%s&start=%d&end=%d", url.QueryEscape(`{ resource.service.name = "api" && status = error }`), *t0, *t0+*window) }},
	}
	fmt.Printf("%-26s %6s %9s %9s %9s %9s %8s %s\n", "query", "runs", "p50_ms", "p90_ms", "p99_ms", "max_ms", "bytes", "status/traces/series")
	for _, q := range qs {
		if *only != "" && !regexp.MustCompile(*only).MatchString(q.name) {
			continue
		}
		var next atomic.Int64
		var mu sync.Mutex
		var lat []float64
		info := ""
		nb := 0
		dead := time.Now().Add(time.Duration(*budget * 1e9))
		var wg sync.WaitGroup
		for c := 0; c < *conns; c++ {
			wg.Add(1)
			go func() {
				defer wg.Done()
				for {
					i := int(next.Add(1)) - 1
					if i >= *n || time.Now().After(dead) {
						return
					}
					s := time.Now()
					resp, err := cl.Get(strings.TrimRight(*base, "/") + q.f(i))
					if err != nil {
						mu.Lock()
						info = err.Error()
						mu.Unlock()
						continue
					}
					b, _ := io.ReadAll(resp.Body)
					resp.Body.Close()
					d := time.Since(s).Seconds() * 1000
					mu.Lock()
					lat = append(lat, d)
					nb = len(b)
					info = fmt.Sprintf("%d t=%d s=%d sp=%d", resp.StatusCode, strings.Count(string(b), `"traceID"`), strings.Count(string(b), `"samples"`), strings.Count(string(b), `"spanId"`))
					mu.Unlock()
				}
			}()
		}
		wg.Wait()
		sort.Float64s(lat)
		p := func(x float64) float64 {
			if len(lat) == 0 {
				return -1
			}
			return lat[int(x*float64(len(lat)-1)+0.5)]
		}
		fmt.Printf("%-26s %6d %9.2f %9.2f %9.2f %9.2f %8d %s\n", q.name, len(lat), p(.5), p(.9), p(.99), p(1), nb, info)
	}
}
