// SPDX-License-Identifier: Apache-2.0

// The TODO API of the demo and of the live tests: a plain Go service as a user would write it, with
// net/http, database/sql and lib/pq and no instrumentation at all. It deliberately knows nothing of
// Wirespan. scripts/stack builds and starts it. What the tests rely on: every request makes exactly
// one statement, and every answer carries its Content-Length.
package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	_ "github.com/lib/pq"
)

const (
	bodyMax     = 64 << 10
	listMax     = 10
	poolMax     = 10
	startWait   = 60 * time.Second
	startPause  = 100 * time.Millisecond
	headTimeout = 10 * time.Second
)

const (
	sqlList   = `SELECT id, title, done FROM todos ORDER BY id LIMIT %d`
	sqlGet    = `SELECT id, title, done FROM todos WHERE id = $1`
	sqlInsert = `INSERT INTO todos (title, done) VALUES ($1, $2) RETURNING id, title, done`
	sqlUpdate = `UPDATE todos SET title = $1, done = $2 WHERE id = $3 RETURNING id, title, done`
	sqlDelete = `DELETE FROM todos WHERE id = $1`
	sqlReport = `SELECT count(*), count(*) FILTER (WHERE done) FROM todos`
	sqlBroken = `SELECT total FROM todo_totals`
)

type todo struct {
	ID    int64  `json:"id"`
	Title string `json:"title"`
	Done  bool   `json:"done"`
}

type api struct {
	db *sql.DB
}

func writeJSON(w http.ResponseWriter, code int, v interface{}) {
	body, err := json.Marshal(v)
	if err != nil {
		code, body = http.StatusInternalServerError, []byte(`{"error":"encoding"}`)
	}
	body = append(body, '\n')
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(code)
	w.Write(body)
}

func writeError(w http.ResponseWriter, code int, text string) {
	writeJSON(w, code, map[string]string{"error": text})
}

func writeDBError(w http.ResponseWriter, err error) {
	if errors.Is(err, sql.ErrNoRows) {
		writeError(w, http.StatusNotFound, "no such todo")
		return
	}
	log.Printf("database: %v", err)
	writeError(w, http.StatusInternalServerError, "database error")
}

func readTodo(w http.ResponseWriter, r *http.Request) (t todo, ok bool) {
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, bodyMax))
	if dec.Decode(&t) != nil || strings.TrimSpace(t.Title) == "" {
		writeError(w, http.StatusBadRequest, "a JSON object with a title is needed")
		return t, false
	}
	return t, true
}

func scanTodo(row *sql.Row) (t todo, err error) {
	err = row.Scan(&t.ID, &t.Title, &t.Done)
	return t, err
}

func answerRow(w http.ResponseWriter, code int, row *sql.Row) {
	t, err := scanTodo(row)
	if err != nil {
		writeDBError(w, err)
		return
	}
	writeJSON(w, code, t)
}

// listLimit makes lists differ in size, so that a test can tell one request's rows from another's.
func listLimit(r *http.Request) int {
	n, err := strconv.Atoi(r.URL.Query().Get("limit"))
	if err != nil || n < 1 || n > listMax {
		return listMax
	}
	return n
}

func (a *api) list(w http.ResponseWriter, r *http.Request) {
	rows, err := a.db.QueryContext(r.Context(), fmt.Sprintf(sqlList, listLimit(r)))
	if err != nil {
		writeDBError(w, err)
		return
	}
	defer rows.Close()
	all := []todo{}
	for rows.Next() {
		var t todo
		if err := rows.Scan(&t.ID, &t.Title, &t.Done); err != nil {
			writeDBError(w, err)
			return
		}
		all = append(all, t)
	}
	if err := rows.Err(); err != nil {
		writeDBError(w, err)
		return
	}
	writeJSON(w, http.StatusOK, all)
}

func (a *api) create(w http.ResponseWriter, r *http.Request) {
	if t, ok := readTodo(w, r); ok {
		answerRow(w, http.StatusCreated, a.db.QueryRowContext(r.Context(), sqlInsert, t.Title, t.Done))
	}
}

func (a *api) update(w http.ResponseWriter, r *http.Request, id int64) {
	if t, ok := readTodo(w, r); ok {
		answerRow(w, http.StatusOK, a.db.QueryRowContext(r.Context(), sqlUpdate, t.Title, t.Done, id))
	}
}

func (a *api) remove(w http.ResponseWriter, r *http.Request, id int64) {
	res, err := a.db.ExecContext(r.Context(), sqlDelete, id)
	if err != nil {
		writeDBError(w, err)
		return
	}
	if n, err := res.RowsAffected(); err != nil || n == 0 {
		writeDBError(w, sql.ErrNoRows)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func notAllowed(w http.ResponseWriter) {
	writeError(w, http.StatusMethodNotAllowed, "method not allowed")
}

func (a *api) todos(w http.ResponseWriter, r *http.Request) {
	switch r.Method {
	case http.MethodGet:
		a.list(w, r)
	case http.MethodPost:
		a.create(w, r)
	default:
		notAllowed(w)
	}
}

func (a *api) todo(w http.ResponseWriter, r *http.Request) {
	id, err := strconv.ParseInt(strings.TrimPrefix(r.URL.Path, "/api/todos/"), 10, 64)
	if err != nil {
		writeError(w, http.StatusNotFound, "no such todo")
		return
	}
	switch r.Method {
	case http.MethodGet:
		answerRow(w, http.StatusOK, a.db.QueryRowContext(r.Context(), sqlGet, id))
	case http.MethodPut:
		a.update(w, r, id)
	case http.MethodDelete:
		a.remove(w, r, id)
	default:
		notAllowed(w)
	}
}

// report has a bug on purpose: ?broken=1 asks a table that does not exist.
func (a *api) report(w http.ResponseWriter, r *http.Request) {
	query := sqlReport
	if r.URL.Query().Get("broken") == "1" {
		query = sqlBroken
	}
	var all, done int64
	if err := a.db.QueryRowContext(r.Context(), query).Scan(&all, &done); err != nil {
		writeDBError(w, err)
		return
	}
	writeJSON(w, http.StatusOK, map[string]int64{"todos": all, "done": done})
}

func health(w http.ResponseWriter, r *http.Request) {
	writeJSON(w, http.StatusOK, map[string]string{"status": "ok"})
}

func fillPool(db *sql.DB) error {
	ctx := context.Background()
	for i := 0; i < poolMax; i++ {
		c, err := db.Conn(ctx)
		if err != nil {
			return err
		}
		defer c.Close()
	}
	return nil
}

// openPool opens all of the pool's connections at once, so that they are older than whatever traces
// the API later, and so that no request has to open one. PostgreSQL may start after us.
func openPool(dsn string) (*sql.DB, error) {
	db, err := sql.Open("postgres", dsn)
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(poolMax)
	db.SetMaxIdleConns(poolMax)
	for end := time.Now().Add(startWait); ; time.Sleep(startPause) {
		if err = fillPool(db); err == nil || time.Now().After(end) {
			return db, err
		}
		log.Printf("waiting for PostgreSQL: %v", err)
	}
}

func envOr(name, fallback string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return fallback
}

// listen takes an address, or unix:PATH; nginx, another user, must be able to connect to that.
func listen(where string) (net.Listener, error) {
	path := strings.TrimPrefix(where, "unix:")
	if path == where {
		return net.Listen("tcp", where)
	}
	l, err := net.Listen("unix", path)
	if err == nil {
		err = os.Chmod(path, 0o666)
	}
	return l, err
}

func run() error {
	db, err := openPool(envOr("API_DSN", "postgres://postgres@127.0.0.1:5432/todo?sslmode=disable"))
	if err != nil {
		return fmt.Errorf("PostgreSQL does not answer: %w", err)
	}
	a := &api{db: db}
	mux := http.NewServeMux()
	mux.HandleFunc("/health", health)
	mux.HandleFunc("/api/todos", a.todos)
	mux.HandleFunc("/api/todos/", a.todo)
	mux.HandleFunc("/api/report", a.report)
	l, err := listen(envOr("API_LISTEN", "127.0.0.1:8080"))
	if err != nil {
		return err
	}
	log.Printf("listening on %s", l.Addr())
	return (&http.Server{Handler: mux, ReadHeaderTimeout: headTimeout}).Serve(l)
}

func main() {
	log.Fatal(run())
}
