# needs: sqlite3
# A database in a file: import, index, joins, window functions, a broken statement.
cat >script.sql <<'SQL'
.mode csv
create table t(id integer primary key, word text, n int, x real);
.import table.csv t
create index by_word on t(word);
select count(*), sum(n), round(avg(x), 6) from t;
select word, count(*) c from t group by word order by c desc, word limit 10;
select a.word, count(*) from t a join t b on a.n = b.n and a.id < b.id group by a.word order by 2 desc, 1 limit 5;
select id, sum(n) over (order by id rows 3 preceding) from t limit 5;
with recursive f(i, a, b) as (select 0, 0, 1 union all select i + 1, b, a + b from f where i < 50) select max(a) from f;
update t set n = n + 1 where id % 3 = 0;
delete from t where word like 'ka%';
select count(*), sum(n) from t;
SQL
cp "$INPUT/table.csv" table.csv
run sqlite3 base.db <script.sql
run sqlite3 base.db 'pragma integrity_check; select hex(sum(n)) from t;'
run sqlite3 base.db 'select from'; echo "status $?"
rm base.db
