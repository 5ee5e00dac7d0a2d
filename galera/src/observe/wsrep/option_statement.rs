//! The statements with which a person sets options of the provider (docs/dialects.md).

use super::WsrepStatus;

impl WsrepStatus {
    /// The statement that sets these options, of name (`pc.weight`) and value, as this server accepts it: with the
    /// `wsrep_provider` plugin each option is a variable, and `wsrep_provider_options` is rejected with error 1210.
    #[must_use]
    pub fn option_statement(&self, options: &[(&str, &str)]) -> String {
        if self.provider_plugin {
            let variable = |(name, value): &(&str, &str)| {
                format!("GLOBAL wsrep_provider_{}={value}", name.replace('.', "_"))
            };
            let variables: Vec<String> = options.iter().map(variable).collect();
            return format!("SET {}", variables.join(", "));
        }
        let list: Vec<String> = options
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        format!("SET GLOBAL wsrep_provider_options='{}'", list.join(";"))
    }
}

/// The statement for each of these servers, given with its name: one if all accept the same, as outside an upgrade.
#[must_use]
pub fn option_statements<'a>(
    servers: impl IntoIterator<Item = (String, &'a WsrepStatus)>,
    options: &[(&str, &str)],
) -> String {
    let mut groups: Vec<(String, Vec<String>)> = Vec::new();
    for (name, status) in servers {
        let statement = status.option_statement(options);
        match groups.iter_mut().find(|(known, _)| *known == statement) {
            Some((_, names)) => names.push(name),
            None => groups.push((statement, vec![name])),
        }
    }
    if let [(statement, _)] = &groups[..] {
        return statement.clone();
    }
    let on = |(statement, names): &(String, Vec<String>)| {
        format!("{statement} on {}", names.join(" and "))
    };
    groups.iter().map(on).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPTIONS: [(&str, &str); 2] = [("pc.ignore_sb", "FALSE"), ("pc.weight", "1")];
    const LIST: &str = "SET GLOBAL wsrep_provider_options='pc.ignore_sb=FALSE;pc.weight=1'";
    /// MariaDB 11.8.9 accepts it.
    const VARIABLES: &str =
        "SET GLOBAL wsrep_provider_pc_ignore_sb=FALSE, GLOBAL wsrep_provider_pc_weight=1";

    fn server(plugin: bool) -> WsrepStatus {
        let option = [("wsrep_provider_pc_bootstrap", "OFF")];
        WsrepStatus::from_rows(option.into_iter().filter(|_| plugin))
    }

    fn named(servers: &[WsrepStatus]) -> String {
        let names = (1..).map(|number| format!("n{number}"));
        option_statements(names.zip(servers), &OPTIONS)
    }

    #[test]
    fn one_statement_where_all_servers_accept_it() {
        assert_eq!(named(&[server(false), server(false)]), LIST);
        assert_eq!(named(&[server(true), server(true)]), VARIABLES);
        assert_eq!(named(&[]), "");
    }

    #[test]
    fn each_server_of_an_upgrade_gets_its_own() {
        let servers = [server(true), server(false), server(true)];
        assert_eq!(
            named(&servers),
            format!("{VARIABLES} on n1 and n3; {LIST} on n2")
        );
    }
}
