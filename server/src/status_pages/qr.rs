//! QR codes of status page URLs.

use qrcodegen::{QrCode, QrCodeEcc};

/// Width of the white margin, in modules.
const QUIET_ZONE: i32 = 4;

/// Renders `text` as an SVG QR code; `None` when it is too long.
#[must_use]
pub fn qr_code(text: &str) -> Option<String> {
    let code = QrCode::encode_text(text, QrCodeEcc::Medium).ok()?;
    let total = code.size() + 2 * QUIET_ZONE;
    let mut path = String::new();
    for y in 0..code.size() {
        for x in 0..code.size() {
            if code.get_module(x, y) {
                path.push_str(&format!("M{},{}h1v1h-1z", x + QUIET_ZONE, y + QUIET_ZONE));
            }
        }
    }
    // Dark on light in every color scheme: many cameras do not recognize inverted codes.
    Some(format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {total} {total}\" shape-rendering=\"crispEdges\">\
         <rect width=\"{total}\" height=\"{total}\" fill=\"#fff\"/><path d=\"{path}\" fill=\"#000\"/></svg>"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_fits_and_a_long_text_does_not() {
        let svg = qr_code("https://console.example.org/status/shop").unwrap();
        assert!(svg.starts_with("<svg") && svg.matches("h1v1h-1z").count() > 200);
        assert!(qr_code(&"x".repeat(5_000)).is_none());
    }
}
