<?php
// SPDX-License-Identifier: Apache-2.0
// PHP: curl and a persistent connection to PostgreSQL; what happens at once is sent before either
// answer is waited for.

$db = pg_pconnect('dbname=' . getenv('PGDATABASE'));

function request(string $name): CurlHandle
{
    $curl = curl_init('http://' . getenv('BACKEND') . '/b/' . $name);
    curl_setopt($curl, CURLOPT_RETURNTRANSFER, true);
    return $curl;
}

function statement(string $alias): string
{
    return "SELECT pg_sleep(0.002) AS $alias";
}

function at_once(PgSql\Connection $db, string $name, string $alias): void
{
    $multi = curl_multi_init();
    curl_multi_add_handle($multi, request($name));
    curl_multi_exec($multi, $running);
    pg_send_query($db, statement($alias));
    while ($running) {
        curl_multi_select($multi, 0.1);
        curl_multi_exec($multi, $running);
    }
    while (pg_get_result($db)) {
    }
}

$id = substr($_SERVER['REQUEST_URI'], strlen('/r/'));
$pause_us = 1000 * (1 + ord($id[-1]) % 4);
usleep($pause_us);
curl_exec(request("$id-1"));
pg_query($db, statement("r_{$id}_2"));
usleep($pause_us);
at_once($db, "$id-3", "r_{$id}_4");
echo "done\n";
