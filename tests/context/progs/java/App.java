// SPDX-License-Identifier: Apache-2.0

// Java: HttpServer with a fixed thread pool, java.net.http's client, JDBC with a small pool of
// connections. At once: sendAsync, and meanwhile the statement; or, with AT_ONCE=tasks, both as tasks
// of another executor.

import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.Statement;
import java.util.List;
import java.util.concurrent.ArrayBlockingQueue;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.Semaphore;

public class App {
    static final int POOL_SIZE = 8;
    static final int THREADS = 16;

    final HttpClient client = HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build();
    final Semaphore https = new Semaphore(POOL_SIZE);
    final BlockingQueue<Connection> sqls = new ArrayBlockingQueue<>(POOL_SIZE);
    final ExecutorService tasks = Executors.newFixedThreadPool(THREADS);

    App() throws Exception {
        String url = String.format("jdbc:postgresql://%s:%s/%s", System.getenv("PGHOST"),
            System.getenv("PGPORT"), System.getenv("PGDATABASE"));
        for (int i = 0; i < POOL_SIZE; i++) {
            sqls.add(DriverManager.getConnection(url, System.getenv("PGUSER"), ""));
        }
    }

    HttpRequest request(String name) {
        URI uri = URI.create("http://" + System.getenv("BACKEND") + "/b/" + name);
        return HttpRequest.newBuilder(uri).build();
    }

    Void fetch(String name) throws Exception {
        https.acquire();
        try {
            client.send(request(name), BodyHandlers.ofString());
        } finally {
            https.release();
        }
        return null;
    }

    Void query(String alias) throws Exception {
        Connection connection = sqls.take();
        try (Statement statement = connection.createStatement()) {
            statement.executeQuery("SELECT pg_sleep(0.002) AS " + alias);
        } finally {
            sqls.put(connection);
        }
        return null;
    }

    void work(String id) throws Exception {
        int pause = 1 + id.charAt(id.length() - 1) % 4;
        Thread.sleep(pause);
        fetch(id + "-1");
        query("r_" + id + "_2");
        Thread.sleep(pause);
        if ("tasks".equals(System.getenv("AT_ONCE"))) {
            atOnceByTasks(id);
        } else {
            atOnce(id);
        }
    }

    void atOnce(String id) throws Exception {
        https.acquire();
        try {
            Future<HttpResponse<String>> answer =
                client.sendAsync(request(id + "-3"), BodyHandlers.ofString());
            query("r_" + id + "_4");
            answer.get();
        } finally {
            https.release();
        }
    }

    void atOnceByTasks(String id) throws Exception {
        List<Callable<Void>> calls =
            List.of(() -> fetch(id + "-3"), () -> query("r_" + id + "_4"));
        for (Future<Void> call : tasks.invokeAll(calls)) {
            call.get();
        }
    }

    void handle(HttpExchange exchange) throws IOException {
        byte[] text = "done\n".getBytes();
        int status = 200;
        try {
            work(exchange.getRequestURI().getPath().substring("/r/".length()));
        } catch (Exception e) {
            text = (e + "\n").getBytes();
            status = 500;
        }
        exchange.sendResponseHeaders(status, text.length);
        exchange.getResponseBody().write(text);
        exchange.close();
    }

    void background() {
        try {
            for (int n = 0;; n++) {
                Thread.sleep(20);
                fetch("bg-" + n);
                query("bg_" + n);
            }
        } catch (Exception e) {
            e.printStackTrace();
        }
    }

    public static void main(String[] args) throws Exception {
        App app = new App();
        InetSocketAddress address =
            new InetSocketAddress("127.0.0.1", Integer.parseInt(System.getenv("PORT")));
        HttpServer server = HttpServer.create(address, 128);
        server.createContext("/r/", app::handle);
        server.setExecutor(Executors.newFixedThreadPool(THREADS));
        server.start();
        Thread timer = new Thread(app::background);
        timer.setDaemon(true);
        timer.start();
    }
}
