//! An address as a QR code, for a phone or a notice board.

use qrcodegen::{QrCode, QrCodeEcc};

/// White modules around a code, so that cameras find it.
const QUIET_ZONE: i32 = 4;

/// A picture of `text`; `None` when it is too long for a code.
#[must_use]
pub fn qr_code(text: &str) -> Option<String> {
    let code = QrCode::encode_text(text, QrCodeEcc::Medium).ok()?;
    let whole = code.size() + 2 * QUIET_ZONE;
    let mut path = String::new();
    for y in 0..code.size() {
        for x in 0..code.size() {
            if code.get_module(x, y) {
                path.push_str(&format!("M{},{}h1v1h-1z", x + QUIET_ZONE, y + QUIET_ZONE));
            }
        }
    }
    // Dark on light whatever the reader's scheme: many cameras take no other.
    Some(format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {whole} {whole}\" shape-rendering=\"crispEdges\">\
         <rect width=\"{whole}\" height=\"{whole}\" fill=\"#fff\"/><path d=\"{path}\" fill=\"#000\"/></svg>"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_fits_and_a_novel_does_not() {
        let svg = qr_code("https://console.example.org/status/shop").unwrap();
        assert!(svg.starts_with("<svg") && svg.matches("h1v1h-1z").count() > 200);
        assert!(qr_code(&"x".repeat(5_000)).is_none());
    }
}
