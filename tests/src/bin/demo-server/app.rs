//! The application: notes that are written to the primary and read from the
//! replica.
//!
//! | request | does |
//! | --- | --- |
//! | `GET /` | the last five notes: one `SELECT` on the replica |
//! | `GET /notes/7` | one note: one `SELECT` on the replica |
//! | `POST /notes` | a new note: one `INSERT` on the primary; answers its number |
//! | `GET /health` | a word, without the database |
//! | `GET /counts` | what was done so far; on the status address only |

use std::fmt::Write as _;
use std::io::BufReader;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use anyhow::{Context as _, Result};

use super::http::{self, Request};
use super::mysql::{self, Answer, Connection, Login};

/// How the application runs.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Where requests come in.
    listen: SocketAddr,
    /// Where its own counts are asked for: on the loopback.
    status: SocketAddr,
    /// Database that is read.
    reads: SocketAddr,
    /// Database that is written.
    writes: SocketAddr,
    login: Login,
    /// Said in every response.
    name: String,
}

impl Settings {
    /// From `APP_*` variables.
    pub(crate) fn from_environment() -> Result<Self> {
        let get = |name: &str| std::env::var(name).with_context(|| format!("{name} is not set"));
        let address = |name: &str| -> Result<SocketAddr> {
            get(name)?.parse().with_context(|| format!("{name} is no address and port"))
        };
        Ok(Self {
            listen: address("APP_LISTEN")?,
            status: address("APP_STATUS")?,
            reads: address("APP_READS")?,
            writes: address("APP_WRITES")?,
            login: Login {
                user: get("APP_USER")?,
                password: get("APP_PASSWORD")?,
                database: get("APP_DATABASE")?,
            },
            name: get("APP_NAME")?,
        })
    }
}

/// What was done so far.
#[derive(Debug, Default)]
struct Counts {
    requests: AtomicU64,
    reads: AtomicU64,
    writes: AtomicU64,
    errors: AtomicU64,
}

#[derive(Debug)]
struct App {
    settings: Settings,
    counts: Counts,
}

/// Serves until it is killed: a thread for each connection.
pub(crate) fn run(settings: &Settings) -> Result<()> {
    let listen = |address: SocketAddr| {
        TcpListener::bind(address).with_context(|| format!("cannot listen on {address}"))
    };
    let (requests, status) = (listen(settings.listen)?, listen(settings.status)?);
    let app = Arc::new(App { settings: settings.clone(), counts: Counts::default() });
    let counting = Arc::clone(&app);
    thread::spawn(move || accept(&status, &counting, App::counts));
    accept(&requests, &app, App::answer);
    Ok(())
}

type Respond = fn(&App, &mut Databases, &Request) -> (&'static str, String);

fn accept(listener: &TcpListener, app: &Arc<App>, respond: Respond) {
    for stream in listener.incoming().flatten() {
        let app = Arc::clone(app);
        thread::spawn(move || {
            if let Err(error) = serve(&app, stream, respond) {
                eprintln!("connection: {error:#}");
            }
        });
    }
}

fn serve(app: &App, stream: TcpStream, respond: Respond) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut writer = stream.try_clone()?;
    let mut reader = BufReader::new(stream);
    let mut databases = Databases::default();
    while let Some(request) = http::read(&mut reader)? {
        let (status, body) = respond(app, &mut databases, &request);
        http::write(&mut writer, status, &app.settings.name, &body)?;
        if request.last {
            break;
        }
    }
    Ok(())
}

impl App {
    fn answer(&self, databases: &mut Databases, request: &Request) -> (&'static str, String) {
        self.counts.requests.fetch_add(1, Ordering::Relaxed);
        let note = request.path.strip_prefix("/notes/").and_then(|number| number.parse().ok());
        let answered = match (request.method.as_str(), request.path.as_str(), note) {
            ("GET", "/health", _) => Ok(("200 OK", "well\n".to_owned())),
            ("GET", "/", _) => self.last_notes(databases),
            ("GET", _, Some(number)) => self.note(databases, number),
            ("POST", "/notes", _) => self.add(databases, &request.body),
            _ => Ok(("404 Not Found", "there is no such page\n".to_owned())),
        };
        answered.unwrap_or_else(|error| {
            self.counts.errors.fetch_add(1, Ordering::Relaxed);
            eprintln!("{} {}: {error:#}", request.method, request.path);
            ("503 Service Unavailable", format!("no database: {error:#}\n"))
        })
    }

    fn counts(&self, _: &mut Databases, _: &Request) -> (&'static str, String) {
        let mut text = String::new();
        let Counts { requests, reads, writes, errors } = &self.counts;
        for (name, count) in
            [("requests", requests), ("reads", reads), ("writes", writes), ("errors", errors)]
        {
            let _ = writeln!(text, "{name} {}", count.load(Ordering::Relaxed));
        }
        ("200 OK", text)
    }

    fn last_notes(&self, databases: &mut Databases) -> Result<(&'static str, String)> {
        let rows =
            self.read(databases, "SELECT id, body FROM notes ORDER BY id DESC LIMIT 5")?.rows;
        let mut page = "www.foobar.com\n".to_owned();
        for row in rows {
            let _ = writeln!(page, "{}", row.join(" "));
        }
        Ok(("200 OK", page))
    }

    fn note(&self, databases: &mut Databases, number: u64) -> Result<(&'static str, String)> {
        let statement = format!("SELECT body FROM notes WHERE id = {number}");
        let rows = self.read(databases, &statement)?.rows;
        Ok(match rows.first().and_then(|row| row.first()) {
            Some(body) => ("200 OK", format!("{body}\n")),
            None => ("404 Not Found", "there is no such note\n".to_owned()),
        })
    }

    fn add(&self, databases: &mut Databases, body: &str) -> Result<(&'static str, String)> {
        let statement = format!("INSERT INTO notes (body) VALUES ({})", mysql::literal(body));
        let Settings { writes, login, .. } = &self.settings;
        let answer = databases.primary.query(*writes, login, &statement)?;
        self.counts.writes.fetch_add(1, Ordering::Relaxed);
        Ok(("201 Created", format!("{}\n", answer.last_id)))
    }

    fn read(&self, databases: &mut Databases, statement: &str) -> Result<Answer> {
        let Settings { reads, login, .. } = &self.settings;
        let answer = databases.replica.query(*reads, login, statement)?;
        self.counts.reads.fetch_add(1, Ordering::Relaxed);
        Ok(answer)
    }
}

/// The databases of one client's connection, connected when they are needed.
#[derive(Debug, Default)]
struct Databases {
    replica: Database,
    primary: Database,
}

#[derive(Debug, Default)]
struct Database(Option<Connection>);

impl Database {
    /// Runs a statement; a connection that fails is not used again.
    fn query(&mut self, server: SocketAddr, login: &Login, statement: &str) -> Result<Answer> {
        let mut connection = match self.0.take() {
            Some(connection) => connection,
            None => Connection::open(server, login)?,
        };
        let answer = connection.query(statement)?;
        self.0 = Some(connection);
        Ok(answer)
    }
}
