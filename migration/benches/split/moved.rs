//! One large table moved with its types changed, beside others who move it, then compared.

use std::{
    env,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use testkit::PrivatePostgres;

use crate::{
    contender::Contender,
    data::{self, Data, Keys},
    number, ours,
};

pub async fn run(source: &PrivatePostgres, target: &PrivatePostgres) -> anyhow::Result<()> {
    let (rows, rounds) = (number("ROWS", 5_000_000)?, number("ROUNDS", 1)?);
    let keys = match env::var("KEYS").as_deref() {
        Err(_) | Ok("ordered") => Keys::Ordered,
        Ok("random") => Keys::Random,
        Ok(other) => anyhow::bail!("KEYS is `ordered` or `random`, not {other}"),
    };
    let made = Instant::now();
    let data = Data::make(source, rows, keys).await?;
    eprintln!("{rows} rows, {} MiB, made in {:.1} s", data.bytes >> 20, made.elapsed().as_secs_f64());

    let mut times: Vec<Vec<Duration>> = vec![Vec::new(); Contender::ALL.len()];
    let mut verified = Vec::new();
    let mut peaks = (0, 0);
    let mut order: Vec<(usize, Contender)> = Contender::ALL.into_iter().enumerate().collect();
    for round in 0..rounds {
        // Whoever is first in a round finds the files of the last one written, or none at all.
        order.rotate_left(usize::from(round > 0));
        for (place, contender) in order.iter().copied() {
            let to = data::fresh_target(target, contender.keeps_schema()).await?;
            let result = contender.run(&data, &to).await.with_context(|| contender.name())?;
            ensure!(data::count(&to, contender.table()).await? == rows, "{}: rows are missing", contender.name());
            eprintln!("round {}: {} {:.1} s", round + 1, contender.name(), result.time.as_secs_f64());
            times[place].push(result.time);
            if contender == Contender::Ours {
                peaks.0 = peaks.0.max(result.peak_bytes);
                let check = ours::spawn("--verify", &data.url, &to).await?;
                eprintln!("round {}: verified {:.1} s", round + 1, check.time.as_secs_f64());
                verified.push(check.time);
                peaks.1 = peaks.1.max(check.peak_bytes);
            }
        }
    }
    report(&data, rows, &times, &verified, peaks);
    Ok(())
}

fn median(times: &[Duration]) -> f64 {
    let mut seconds: Vec<f64> = times.iter().map(Duration::as_secs_f64).collect();
    seconds.sort_by(f64::total_cmp);
    seconds[seconds.len() / 2]
}

fn report(data: &Data, rows: u64, times: &[Vec<Duration>], verified: &[Duration], peaks: (u64, u64)) {
    println!("{rows} rows, {} MiB, {} keys, PostgreSQL {}\n", data.bytes >> 20, data.keys, data.version);
    let ours = median(&times[0]);
    println!("{:<58} {:>8} {:>12}", "moved, with its primary key", "seconds", "x of ours");
    for (contender, times) in Contender::ALL.iter().zip(times) {
        let seconds = median(times);
        println!("{:<58} {seconds:>8.1} {:>12.2}", contender.name(), seconds / ours);
    }
    let plain = median(&times[1]);
    let pgcopydb = median(&times[3]);
    println!("\nours: {:.2} x the plain COPY with its key, {:.2} x pgcopydb", ours / plain, ours / pgcopydb);
    println!(
        "compared, both sides through the mapping: {:.1} s, {:.2} x the copy",
        median(verified),
        median(verified) / ours
    );
    println!("most memory of ours: copy {} MiB, comparison {} MiB", peaks.0 >> 20, peaks.1 >> 20);
}
