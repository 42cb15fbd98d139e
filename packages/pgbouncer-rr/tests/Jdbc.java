import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;

/** Prints the port of the server that answered each read, and what was read after a write. */
public class Jdbc {
    static int read(Connection connection, int number) throws SQLException {
        try (PreparedStatement statement = connection.prepareStatement("SELECT inet_server_port(), ?")) {
            statement.setInt(1, number);
            ResultSet rows = statement.executeQuery();
            rows.next();
            if (rows.getInt(2) != number) {
                throw new AssertionError("the answer to another query");
            }
            return rows.getInt(1);
        }
    }

    static void write(Connection connection, String text) throws SQLException {
        try (PreparedStatement statement = connection.prepareStatement("INSERT INTO t (v) VALUES (?)")) {
            statement.setString(1, text);
            statement.executeUpdate();
        }
    }

    static int count(Connection connection, String text) throws SQLException {
        try (PreparedStatement statement = connection.prepareStatement("SELECT count(*) FROM t WHERE v = ?")) {
            statement.setString(1, text);
            ResultSet rows = statement.executeQuery();
            rows.next();
            return rows.getInt(1);
        }
    }

    public static void main(String[] args) throws SQLException {
        try (Connection connection = DriverManager.getConnection(args[0])) {
            for (int number = 0; number < 12; number++) {
                System.out.println("read " + read(connection, number));
            }
            connection.setAutoCommit(false);
            System.out.println("transaction " + read(connection, 0));
            write(connection, "jdbc");
            System.out.println("transaction " + read(connection, 1));
            connection.commit();
            connection.setAutoCommit(true);
            System.out.println("count " + count(connection, "jdbc"));
            for (int number = 0; number < 20; number++) {
                write(connection, "jdbc");
                System.out.println("count " + count(connection, "jdbc"));
            }
            connection.createStatement().executeUpdate("DELETE FROM t WHERE v = 'jdbc'");
            System.out.println("count " + count(connection, "jdbc"));
            try (Statement batch = connection.createStatement()) {
                for (int number = 0; number < 5; number++) {
                    batch.addBatch("INSERT INTO t (v) VALUES ('jdbc')");
                }
                batch.executeBatch();
            }
            System.out.println("count " + count(connection, "jdbc"));
            connection.createStatement().executeUpdate("DELETE FROM t WHERE v = 'jdbc'");
        }
    }
}
